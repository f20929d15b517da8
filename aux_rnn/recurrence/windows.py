"""Computes states of long sequences with truncated gradients.

A *window* `(end, T)` is the state `s[end]` whose gradient reaches back over the `T` steps before `end` and no further
(Trinh, Dai, Luong and Le, 2018, truncate the gradients of both losses this way). All windows of a batch are computed in
two passes:

1. A pass without gradients runs over the sequence and returns the states at which windows start.
2. All windows of equal `T` run together, flattened into the batch dimension, `[B * W, ...]`, through one differentiable
   scan of `T` steps.

The memory for the backward pass therefore depends on `T` and the number of windows, not on the length `L`. If a window
is untruncated (`T = 'full'`, or not less than the largest end), the first pass has gradients and returns the state at
its end, and its memory grows with `L`; truncated windows still begin at a `stop_gradient`. A backend
(`backends.py`) runs both passes.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aux_rnn.config.fields import Truncation
from aux_rnn.recurrence.backends import ScanBackend
from aux_rnn.recurrence.precision import standard_promotion
from aux_rnn.recurrence.scan import Tree, tree_where


def is_untruncated(truncation: Truncation, latest: int) -> bool:
    """Returns whether windows that end at `latest` or before have their whole gradient."""
    return truncation == "full" or truncation >= latest


class Windows(NamedTuple):
    """`W` windows per example with one truncation.

    Attributes:
      ends: int32 `[B, W]`, positions in the padded sequence; the window's state is `s[end]`.
      truncation: `T`, steps that the gradient reaches back from there, or 'full'.
      latest: the largest end that can occur, a static value, as `ends` are traced; it limits the first pass.

    Examples:
      >>> windows = Windows(jnp.array([[20], [9]]), truncation=6, latest=20)
      >>> windows.is_untruncated(), windows.start_positions().tolist()
      (False, [[14], [3]])
    """

    ends: jax.Array
    truncation: Truncation
    latest: int

    def is_untruncated(self) -> bool:
        return is_untruncated(self.truncation, self.latest)

    def start_positions(self) -> jax.Array:
        """Returns where the first pass takes the state: at the start of a window, at the end of an untruncated one."""
        return self.ends if self.is_untruncated() else jnp.maximum(self.ends - int(self.truncation), 0)

    def max_start(self) -> int:
        """Returns the largest value that `start_positions` can have."""
        return self.latest if self.is_untruncated() else self.latest - int(self.truncation)


@standard_promotion()
def encode_windows(
    encoder: Any,
    inputs: jax.Array,
    lengths: jax.Array | None,
    windows: Sequence[Windows],
    backend: type[ScanBackend] = ScanBackend,
) -> list[Tree]:
    """Computes the states at the ends of all windows, each with a gradient over its own truncation only.

    Args:
      encoder: a bound module `encoder(state, element) -> state` with a method `initial_state(batch)`, as `Encoder` is.
      inputs: `[B, L, C]` or, for tokens, `[B, L]`; padded on the left.
      lengths: int32 `[B]`, the length of each example, or None where no sequence is padded.
      windows: at least one.
      backend: how to compute the recurrence; the default is `nn.scan`, which runs any module.

    Returns:
      For every entry of `windows` the states `s[end]`, with leaves `[B, W, H]`.

    Source: Trinh, Dai, Luong and Le (2018), figure 1, which shows where gradients are stopped.

    Examples:
      In a module of your own, for the last state and the states at two anchors:

      >>> from flax import linen as nn
      >>> from aux_rnn import Encoder
      >>> class Network(nn.Module):
      ...     @nn.compact
      ...     def __call__(self, inputs, anchors):
      ...         encoder = Encoder(nn.GRUCell(8), embedding_size=4, vocabulary_size=0)
      ...         ends = jnp.full((len(inputs), 1), 20)
      ...         return encode_windows(encoder, inputs, None, [Windows(ends, 6, 20), Windows(anchors, 6, 20)])
      >>> inputs, anchors = jnp.ones((2, 20, 3)), jnp.array([[5, 12], [8, 19]])
      >>> (last, at_anchors), variables = Network().init_with_output(jax.random.key(0), inputs, anchors)
      >>> last.shape, at_anchors.shape
      ((2, 1, 8), (2, 2, 8))
    """
    bound = backend(encoder)
    positions = jnp.concatenate([w.start_positions() for w in windows], axis=1)
    steps = max(w.max_start() for w in windows)
    differentiable = any(w.is_untruncated() for w in windows)
    elements = jnp.swapaxes(inputs[:, :steps], 0, 1)
    mask = None if lengths is None else jnp.arange(steps)[:, None] >= inputs.shape[1] - lengths
    states = split_windows(bound.states_at(elements, mask, positions, differentiable=differentiable), windows)
    # Windows of equal truncation share one scan.
    for truncation in dict.fromkeys(w.truncation for w in windows if not w.is_untruncated()):
        members = [k for k, w in enumerate(windows) if not w.is_untruncated() and w.truncation == truncation]
        group = [windows[k] for k in members]
        ends = jnp.concatenate([w.ends for w in group], axis=1)
        # The truncation itself: a window's gradient ends at the state where it starts, with T = 0 the state at its end.
        starts = jax.tree.map(lambda *s: jnp.concatenate(s, axis=1), *[states[k] for k in members])
        starts = jax.lax.stop_gradient(starts)
        finished = run_windows(bound, starts, inputs, lengths, ends, int(truncation)) if truncation else starts
        for k, window_states in zip(members, split_windows(finished, group), strict=True):
            states[k] = window_states
    return states


def split_windows(states: Tree, windows: Sequence[Windows]) -> list[Tree]:
    """Splits leaves `[B, P, H]` into one tree of leaves `[B, W, H]` for every entry of `windows`."""
    borders = list(itertools.accumulate((w.ends.shape[1] for w in windows), initial=0))
    return [jax.tree.map(lambda s, span=slice(*span): s[:, span], states) for span in itertools.pairwise(borders)]


def run_windows(
    backend: ScanBackend, states: Tree, inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, steps: int
) -> Tree:
    """Runs all windows of one truncation together, as rows, from the states at their starts, leaves `[B, W, H]`.

    Steps that lie in the padding are masked: they leave the state unchanged.
    """
    starts = jnp.zeros(len(inputs), jnp.int32) if lengths is None else inputs.shape[1] - lengths
    positions = ends[:, :, None] - steps + jnp.arange(steps)
    mask, elements = (
        jnp.swapaxes(x.reshape(ends.size, steps, *x.shape[3:]), 0, 1)
        for x in (positions >= starts[:, None, None], gather_padded(inputs, positions, starts))
    )
    rows = backend.run_rows(jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), states), elements, mask)
    return jax.tree.map(lambda s: s.reshape(*ends.shape, *s.shape[1:]), rows)


def gather_padded(inputs: jax.Array, positions: jax.Array, starts: jax.Array) -> jax.Array:
    """Gathers the elements at `positions`, with zeros where a position lies before the start of the sequence.

    Args:
      inputs: `[B, L, C]` or `[B, L]`.
      positions: int32 `[B, ...]`.
      starts: int32 `[B]`, the position of the first element that is not padding.

    Returns:
      `[B, ..., C]` or `[B, ...]`.
    """
    gathered = jax.vmap(lambda sequence, where: sequence[where])(inputs, jnp.clip(positions, 0, inputs.shape[1] - 1))
    inside = jax.vmap(jnp.greater_equal)(positions, starts)
    return tree_where(inside, gathered, 0)
