"""The backend for any flax cell: `nn.scan` over the steps, differentiated automatically."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.recurrence.padding import gather_windows
from aux_rnn.recurrence.scan import Tree, scan_steps, stop_gradient, tree_where, truncated_scan


class ScanBackend:
    """Runs the modules themselves. See `backends.Backend` for the methods.

    Args:
      encoder: a bound module `encoder(state, element) -> state` with a method `initial_state(batch)`.
    """

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def states_at(
        self, inputs: jax.Array, lengths: jax.Array | None, positions: jax.Array, steps: int, *, differentiable: bool
    ) -> Tree:
        run: Any = scan_states_at
        if not differentiable:
            is_initializing = self.encoder.is_initializing()
            run = nn.map_variables(
                run, "params", trans_in_fn=stop_gradient, init=is_initializing, mutable=is_initializing
            )
            inputs = stop_gradient(inputs)
        return run(self.encoder, inputs, lengths, positions, steps)

    def run_windows(
        self, states: Tree, inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, truncation: int
    ) -> Tree:
        def step(encoder: Any, state: Tree, xs: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
            mask, element = xs
            return tree_where(mask, encoder(state, element), state), None

        rows = jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), states)
        rows, _ = scan_steps(step, self.encoder, rows, gather_windows(inputs, lengths, ends, truncation))
        return jax.tree.map(lambda s: s.reshape(*ends.shape, *s.shape[1:]), rows)

    @staticmethod
    def run_decoder(decoder: Any, states: tuple[Tree, ...], elements: jax.Array) -> jax.Array:
        embedded, truncation = decoder.embedding(elements), decoder.config.decoder_truncation
        return truncated_scan(type(decoder).step, decoder, states, embedded, truncation)[1]


def scan_states_at(
    encoder: Any, inputs: jax.Array, lengths: jax.Array | None, positions: jax.Array, steps: int
) -> Tree:
    """Scans over the first `steps` elements and stores the state wherever a position is reached.

    Args:
      encoder: `encoder(state, element) -> state` with a method `initial_state(batch)`.
      inputs: `[B, L, C]` or `[B, L]`.
      lengths: int32 `[B]`, or None where no sequence is padded.
      positions: int32 `[B, P]`, at most `steps`.
      steps: elements to read.

    Returns:
      `s[p]` for every position, leaves `[B, P, H]`.
    """
    batch, length = inputs.shape[:2]
    state = encoder.initial_state(batch)
    found = jax.tree.map(lambda s: jnp.zeros((*positions.shape, *s.shape[1:]), s.dtype), state)

    def store(found: Tree, state: Tree, position: jax.Array) -> Tree:
        return tree_where(positions == position, jax.tree.map(lambda s: s[:, None], state), found)

    def step(encoder: Any, carry: tuple[Tree, Tree], xs: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
        state, found = carry
        position, element = xs
        found = store(found, state, position)
        advanced = encoder(state, element)
        state = advanced if lengths is None else tree_where(position >= length - lengths, advanced, state)
        return (state, found), None

    elements = jnp.swapaxes(inputs[:, :steps], 0, 1)
    (state, found), _ = scan_steps(step, encoder, (state, found), (jnp.arange(steps), elements))
    return store(found, state, jnp.int32(steps))
