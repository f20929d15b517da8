"""The backend for any flax cell: `nn.scan` over the steps, differentiated automatically."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.recurrence.scan import Tree, scan_steps, tree_where, truncated_scan


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
          elements: `[T, R, C]` or `[T, R]`.
          mask: bool `[T, R]`; where it is false, a step keeps the state.

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
