"""The backend for our LSTM on any device: the hand-written gradient of `fused_lstm.py`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aux_rnn.recurrence.fused_lstm import LSTMParams, State, fold_embedding, layer_params, lstm_step, run_lstm
from aux_rnn.recurrence.joined_layers import run_joined_lstm
from aux_rnn.recurrence.padding import gather_windows, sequence_starts
from aux_rnn.recurrence.precision import MatMul
from aux_rnn.recurrence.scan import stop_gradient, target_platform, truncated_run
from aux_rnn.recurrence.scan_backend import scan_states_at


@dataclasses.dataclass(frozen=True)
class FoldedEncoder:
    """An LSTM and the embedding before it as one function `(state, element) -> state`, without a module."""

    params: LSTMParams
    matmul: MatMul = jnp.matmul

    def __call__(self, state: State, element: jax.Array) -> State:
        return lstm_step(self.params, state, element, self.matmul)[0]

    def initial_state(self, batch: int) -> State:
        zeros = jnp.zeros((batch, len(self.params.recurrent)), self.params.recurrent.dtype)
        return zeros, zeros


def run_layers(
    params: tuple[LSTMParams, ...], states: Any, elements: jax.Array, *, mask: jax.Array | None = None, **options: Any
) -> Any:
    """Computes `run_lstm`, on a GPU with several layers as one."""
    if len(params) > 1 and mask is None and target_platform() == "gpu":
        return run_joined_lstm(params, states, elements, **options)
    return run_lstm(params, states, elements, mask=mask, **options)


class FusedBackend:
    """Runs all layers in one loop. See `backends.Backend` for the methods.

    Args:
      encoder: a bound `Encoder` with an `LSTMCell`.

    Attributes:
      run: the function that runs the steps, with the arguments and results of `run_lstm`.
    """

    run: Callable[..., Any] = staticmethod(run_layers)

    def __init__(self, encoder: Any) -> None:
        params = fold_embedding(encoder.cell.variables["params"], encoder.embedding.variables["params"])
        self.encoder = FoldedEncoder(params, encoder.matmul)

    def states_at(
        self, inputs: jax.Array, lengths: jax.Array | None, positions: jax.Array, steps: int, *, differentiable: bool
    ) -> State:
        if differentiable:
            return gather_states(self.run, self.encoder, inputs, lengths, positions, steps)
        constant = dataclasses.replace(self.encoder, params=stop_gradient(self.encoder.params))
        return scan_states_at(constant, stop_gradient(inputs), lengths, positions, steps)

    def run_windows(
        self, states: State, inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, truncation: int
    ) -> State:
        mask, elements = gather_windows(inputs, lengths, ends, truncation)
        rows = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), states)
        (rows,), _ = self.run((self.encoder.params,), (rows,), elements, mask=mask, matmul=self.encoder.matmul)
        return jax.tree.map(lambda s: s.reshape(*ends.shape, *s.shape[1:]), rows)

    @classmethod
    def run_decoder(cls, decoder: Any, states: tuple[State, ...], elements: jax.Array) -> jax.Array:
        bottom, *upper = [layer.variables["params"] for layer in decoder.layers]
        params = (fold_embedding(bottom, decoder.embedding.variables["params"]), *map(layer_params, upper))

        def run(params: Any, states: Any, elements: jax.Array) -> Any:
            final, (_, hidden) = cls.run(params, states, elements, matmul=decoder.embedding.matmul)
            return final, hidden

        return truncated_run(run, params, states, elements, decoder.config.decoder_truncation)[1]


def gather_states(
    run: Callable[..., Any],
    encoder: FoldedEncoder,
    inputs: jax.Array,
    lengths: jax.Array | None,
    positions: jax.Array,
    steps: int,
) -> State:
    """Computes `scan_states_at` from the states of all steps, which a pass with gradients keeps in any case."""
    batch, starts = len(inputs), sequence_starts(inputs, lengths)
    initial = encoder.initial_state(batch)
    mask = None if lengths is None else jnp.arange(steps)[:, None] >= starts
    elements = jnp.swapaxes(inputs[:, :steps], 0, 1)
    _, states = run((encoder.params,), (initial,), elements, mask=mask, return_cells=True, matmul=encoder.matmul)
    states = jax.tree.map(lambda first, s: jnp.concatenate([first[None], s]), initial, states)
    return jax.tree.map(lambda s: s[positions, jnp.arange(batch)[:, None]], states)
