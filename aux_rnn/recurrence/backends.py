"""Computes the recurrence of an encoder or a decoder.

* `ScanBackend`: any flax cell, by `nn.scan`.
* `FusedBackend`: our `LSTMCell`, by the hand-written gradient of `fused_lstm.py`; on a GPU, `joined_layers.py` runs the
  layers of a decoder as one.
* `PallasBackend`: our `LSTMCell` on TPUs, by the kernels of `pallas_lstm.py`.

A new backend is a subclass of `ScanBackend` and a line in `BACKENDS`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.recurrence.cells import LSTMCell
from aux_rnn.recurrence.fused_lstm import (
    Layers,
    LSTMParams,
    State,
    States,
    StepInputs,
    fold_embedding,
    layer_params,
    lstm_step,
    run_lstm,
)
from aux_rnn.recurrence.joined_layers import run_joined_lstm
from aux_rnn.recurrence.pallas_lstm import agrees_with_scan, find_states, is_supported, run_pallas_lstm
from aux_rnn.recurrence.precision import MatMul
from aux_rnn.recurrence.scan import (
    PLATFORM,
    Tree,
    scan_steps,
    target_platform,
    tree_where,
    truncated_run,
    truncated_scan,
)


class ScanBackend:
    """Computes the states of an encoder and the outputs of a decoder; other backends override the methods.

    Args:
      encoder: a bound module `encoder(state, element) -> state` with a method `initial_state(batch)`.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def states_at(
        self, elements: jax.Array, mask: jax.Array | None, positions: jax.Array, *, differentiable: bool
    ) -> Tree:
        """Runs `T` steps from `s[0] = 0` and returns the states at the given positions.

        Args:
          elements: `[T, B, C]` or, for tokens, `[T, B]`.
          mask: bool `[T, B]`; where it is false, a step keeps the state. None where every step advances.
          positions: int32 `[B, P]`, from 0 to `T`.
          differentiable: whether gradients flow through the pass.

        Returns:
          `s[p]` for every position, leaves `[B, P, H]`.
        """
        run: Any = scan_states_at
        if not differentiable:
            is_initializing = self.encoder.is_initializing()
            run = nn.map_variables(
                run, "params", trans_in_fn=jax.lax.stop_gradient, init=is_initializing, mutable=is_initializing
            )
            elements = jax.lax.stop_gradient(elements)
        return run(self.encoder, elements, mask, positions)

    def run_rows(self, states: Tree, elements: jax.Array, mask: jax.Array) -> Tree:
        """Runs `T` steps of `R` independent rows, with gradients.

        Args:
          states: before the first step, leaves `[R, H]`.
          elements: as in `states_at`.
          mask: as in `states_at`.

        Returns:
          The states after the last step, leaves `[R, H]`.
        """

        def step(encoder: Any, state: Tree, xs: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
            element, is_valid = xs
            return tree_where(is_valid, encoder(state, element), state), None

        return scan_steps(step, self.encoder, states, (elements, mask))[0]

    @classmethod
    def run_decoder(cls, decoder: Any, states: tuple[Tree, ...], elements: jax.Array) -> jax.Array:
        """Runs all layers of a decoder over known elements (teacher forcing).

        Args:
          decoder: the bound `Decoder`.
          states: of each layer before the first step, leaves `[R, H]`.
          elements: `[S, R, C]`, or tokens `[S, R]`.

        Returns:
          The outputs of the top layer, `[S, R, H]`, with truncated gradients as `decoder.config` says.
        """
        embedded, truncation = decoder.embedding(elements), decoder.config.decoder_truncation
        return truncated_scan(type(decoder).step, decoder, states, embedded, truncation)[1]


def scan_states_at(encoder: Any, elements: jax.Array, mask: jax.Array | None, positions: jax.Array) -> Tree:
    """Computes `ScanBackend.states_at` for an encoder; stores a state when its position is reached."""
    steps, state = len(elements), encoder.initial_state(len(positions))
    found = jax.tree.map(lambda s: jnp.zeros((*positions.shape, *s.shape[1:]), s.dtype), state)

    def store(found: Tree, state: Tree, position: jax.Array) -> Tree:
        return tree_where(positions == position, jax.tree.map(lambda s: s[:, None], state), found)

    def step(encoder: Any, carry: tuple[Tree, Tree], xs: tuple[Any, ...]) -> tuple[Tree, None]:
        state, found = carry
        position, element, is_valid = xs
        found = store(found, state, position)
        return (tree_where(is_valid, encoder(state, element), state), found), None

    (state, found), _ = scan_steps(step, encoder, (state, found), (jnp.arange(steps), elements, mask))
    return store(found, state, jnp.int32(steps))


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


class FusedBackend(ScanBackend):
    """Runs all layers in one loop, for a bound `Encoder` with an `LSTMCell`."""

    def __init__(self, encoder: Any) -> None:
        params = fold_embedding(encoder.cell.variables["params"], encoder.embedding.variables["params"])
        self.encoder = FoldedEncoder(params, encoder.matmul)

    @staticmethod
    def run(
        params: Layers, states: States, inputs: StepInputs, return_cells: bool = False, matmul: MatMul = jnp.matmul
    ) -> Any:
        """Computes `run_lstm`, on a GPU with several layers as one."""
        is_joined = len(params) > 1 and inputs.mask is None and target_platform() == "gpu"
        return (run_joined_lstm if is_joined else run_lstm)(params, states, inputs, return_cells, matmul)

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
    def run_decoder(cls, decoder: Any, states: States, elements: jax.Array) -> jax.Array:
        bottom, *upper = [layer.variables["params"] for layer in decoder.layers]
        params = fold_embedding(bottom, decoder.embedding.variables["params"]), *map(layer_params, upper)

        def run(params: Any, states: Any, elements: jax.Array) -> Any:
            final, (_, hidden) = cls.run(params, states, StepInputs(elements), matmul=decoder.embedding.matmul)
            return final, hidden

        return truncated_run(run, params, states, elements, decoder.config.decoder_truncation)[1]


class PallasBackend(FusedBackend):
    """Runs all steps of all layers in one kernel where the layers fit, and as `FusedBackend` where they do not."""

    run = staticmethod(run_pallas_lstm)

    def states_at(
        self, elements: jax.Array, mask: jax.Array | None, positions: jax.Array, *, differentiable: bool
    ) -> State:
        params, matmul = self.encoder.params, self.encoder.matmul
        if differentiable or not len(elements) or not is_supported((params,), len(positions), matmul):
            return super().states_at(elements, mask, positions, differentiable=differentiable)
        params, elements = jax.lax.stop_gradient((params, elements))
        inputs = StepInputs(elements, None if mask is None else mask[:, :, None])
        return find_states(params, inputs, positions, matmul)


BACKENDS: dict[str, type[ScanBackend]] = {"scan": ScanBackend, "fused": FusedBackend, "pallas": PallasBackend}


def select_backend(recurrence: str, cell: nn.RNNCellBase) -> type[ScanBackend]:
    """Returns the backend for `--recurrence`; every cell other than our `LSTMCell` takes `nn.scan`.

    While parameters are initialized, the cell has none yet and `nn.scan` is used as well. 'auto' takes the kernels on a
    TPU on which they agree with a scan. A program for a TPU that is not present cannot check that.
    """
    if not isinstance(cell, LSTMCell) or cell.is_initializing():
        return ScanBackend
    if recurrence != "auto":
        return BACKENDS[recurrence]
    is_tpu = PLATFORM.get() is None and jax.default_backend() == "tpu"
    return PallasBackend if is_tpu and agrees_with_scan(cell.matmul) else FusedBackend
