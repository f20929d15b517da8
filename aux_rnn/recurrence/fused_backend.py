"""The backend for our LSTM on any device: the hand-written gradient of `fused_lstm.py`."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aux_rnn.recurrence.fused_lstm import (
    LSTMParams,
    State,
    StepInputs,
    fold_embedding,
    layer_params,
    lstm_step,
    run_lstm,
)
from aux_rnn.recurrence.joined_layers import run_joined_lstm
from aux_rnn.recurrence.precision import MatMul
from aux_rnn.recurrence.scan import target_platform, truncated_run
from aux_rnn.recurrence.scan_backend import ScanBackend, scan_states_at


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
    params: tuple[LSTMParams, ...],
    states: tuple[State, ...],
    inputs: StepInputs,
    return_cells: bool = False,
    matmul: MatMul = jnp.matmul,
) -> Any:
    """Computes `run_lstm`, on a GPU with several layers as one."""
    is_joined = len(params) > 1 and inputs.mask is None and target_platform() == "gpu"
    return (run_joined_lstm if is_joined else run_lstm)(params, states, inputs, return_cells, matmul)


class FusedBackend(ScanBackend):
    """Runs all layers in one loop, for a bound `Encoder` with an `LSTMCell`.

    Attributes:
      run: the function that runs the steps, with the arguments and results of `run_lstm`.
    """

    run: Callable[..., Any] = staticmethod(run_layers)

    def __init__(self, encoder: Any) -> None:
        params = fold_embedding(encoder.cell.variables["params"], encoder.embedding.variables["params"])
        self.encoder = FoldedEncoder(params, encoder.matmul)

    def states_at(
        self, elements: jax.Array, mask: jax.Array | None, positions: jax.Array, *, differentiable: bool
    ) -> State:
        params, matmul, batch = self.encoder.params, self.encoder.matmul, len(positions)
        if not differentiable:
            params, elements = jax.lax.stop_gradient((params, elements))
            return scan_states_at(FoldedEncoder(params, matmul), elements, mask, positions)
        # A pass with gradients keeps the states of all steps in any case.
        initial = self.encoder.initial_state(batch)
        inputs = StepInputs(elements, None if mask is None else mask[:, :, None])
        _, states = self.run((params,), (initial,), inputs, return_cells=True, matmul=matmul)
        states = jax.tree.map(lambda first, s: jnp.concatenate([first[None], s]), initial, states)
        return jax.tree.map(lambda s: s[positions, jnp.arange(batch)[:, None]], states)

    def run_rows(self, states: State, elements: jax.Array, mask: jax.Array) -> State:
        inputs = StepInputs(elements, mask[:, :, None])
        (states,), _ = self.run((self.encoder.params,), (states,), inputs, matmul=self.encoder.matmul)
        return states

    @classmethod
    def run_decoder(cls, decoder: Any, states: tuple[State, ...], elements: jax.Array) -> jax.Array:
        bottom, *upper = [layer.variables["params"] for layer in decoder.layers]
        params = fold_embedding(bottom, decoder.embedding.variables["params"]), *map(layer_params, upper)

        def run(params: Any, states: Any, elements: jax.Array) -> Any:
            final, (_, hidden) = cls.run(params, states, StepInputs(elements), matmul=decoder.embedding.matmul)
            return final, hidden

        return truncated_run(run, params, states, elements, decoder.config.decoder_truncation)[1]
