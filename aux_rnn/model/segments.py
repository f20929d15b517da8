"""Draws anchors and slices the segments that the decoders must produce at them. Pure functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from aux_rnn.recurrence.precision import standard_promotion
from aux_rnn.recurrence.scan import tree_where
from aux_rnn.recurrence.windows import gather_padded


class Segments(NamedTuple):
    """The task of one decoder: `A` segments of `S` elements per example.

    Attributes:
      anchors: int32 `[B, A]`, the position `a` of the state `s[a]` from which the decoder starts.
      inputs: `[B, A, S, C]` (tokens: `[B, A, S]`), the element before each target, zero before the start of the
        sequence.
      targets: like `inputs`, the elements to generate, in the order of the sequence.
      mask: bool `[B, A, S]`, false where a sequence shorter than the segment has no target.

    Examples:
      >>> inputs = jnp.arange(1, 9).reshape(1, 8)  # one sequence of eight tokens
      >>> segments = slice_segments("reconstruct", inputs, jnp.array([8]), jnp.array([[6]]), segment_length=3)
      >>> segments.targets.tolist(), segments.inputs.tolist()
      ([[[4, 5, 6]]], [[[3, 4, 5]]])
    """

    anchors: jax.Array
    inputs: jax.Array
    targets: jax.Array
    mask: jax.Array


def anchor_range(kind: str, lengths: jax.Array, segment_length: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the anchors at which the whole segment fits, counted from the first element of each sequence.

    A sequence shorter than the segment gets a shorter segment.

    Args:
      kind: 'reconstruct' (`S <= a <= n`) or 'predict' (`1 <= a <= n - S`).
      lengths: int32 `[B]`, the length `n` of each sequence.
      segment_length: `S`.

    Returns:
      The first and the last anchor and the number of targets, each int32 `[B]`.
    """
    if kind == "reconstruct":
        targets = jnp.minimum(segment_length, lengths)
        return targets, lengths, targets
    targets = jnp.clip(lengths - 1, 0, segment_length)
    return jnp.minimum(1, lengths), lengths - targets, targets


def sample_anchors(key: jax.Array, rows: jax.Array, first: jax.Array, last: jax.Array, num_anchors: int) -> jax.Array:
    """Draws anchors int32 `[B, A]` uniformly from `first` to `last`, int32 `[B]`, both included.

    They are independent for every key and every row: each row derives its own key, so that its anchors depend on its
    index in the global batch, int32 `[B]` in `rows`, and not on how the batch is laid out over devices.
    """

    def sample_row(row: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
        return jax.random.randint(jax.random.fold_in(key, row), (num_anchors,), low, high + 1)

    return jax.vmap(sample_row)(rows, first, last)


def slice_segments(
    kind: str, inputs: jax.Array, lengths: jax.Array, anchors: jax.Array, segment_length: int
) -> Segments:
    """Slices the segments at given anchors: `x[a-S .. a-1]` to reconstruct, `x[a .. a+S-1]` to predict.

    The decoder's inputs and targets are constants: no gradient flows through them. The anchors, int32 `[B, A]`, are
    counted from the start of the padded sequence; the other arguments are those of `draw_segments`.
    """
    _, _, targets = anchor_range(kind, lengths, segment_length)
    begin = anchors - targets[:, None] if kind == "reconstruct" else anchors
    steps = jnp.arange(segment_length)
    positions = begin[:, :, None] + steps
    data = jax.lax.stop_gradient(inputs)
    earliest = inputs.shape[1] - lengths
    mask = jnp.broadcast_to(steps < targets[:, None, None], positions.shape)
    return Segments(
        anchors, gather_padded(data, positions - 1, earliest), gather_padded(data, positions, earliest), mask
    )


@standard_promotion()
def draw_segments(
    key: jax.Array,
    kind: str,
    inputs: jax.Array,
    lengths: jax.Array,
    rows: jax.Array,
    *,
    num_anchors: int,
    segment_length: int,
) -> Segments:
    """Draws anchors for every example (`sample_anchors`) and slices the segments at them.

    Args:
      key: a random key, a different one for each step.
      kind: 'reconstruct' (`x[a-S .. a-1]`) or 'predict' (`x[a .. a+S-1]`).
      inputs: `[B, L, C]` or `[B, L]`, padded on the left.
      lengths: int32 `[B]`, the length of each sequence; `L` where nothing is padded.
      rows: int32 `[B]`, the index of each example in the global batch.
      num_anchors: `A`.
      segment_length: `S`.

    Returns:
      The segments, leaves `[B, A, S, ...]`.

    Source: Trinh, Dai, Luong and Le (2018), figure 1.

    Examples:
      >>> inputs = jnp.ones((4, 20, 3))
      >>> lengths, rows = jnp.full(4, 20), jnp.arange(4)
      >>> segments = draw_segments(jax.random.key(0), "predict", inputs, lengths, rows, num_anchors=2, segment_length=5)
      >>> segments.anchors.shape, segments.targets.shape
      ((4, 2), (4, 2, 5, 3))
    """
    first, last, _ = anchor_range(kind, lengths, segment_length)
    padding = inputs.shape[1] - lengths
    anchors = padding[:, None] + sample_anchors(key, rows, first, last, num_anchors)
    return slice_segments(kind, inputs, lengths, anchors, segment_length)


def input_dropout(key: jax.Array, segments: Segments, rows: jax.Array, rate: float) -> Segments:
    """Replaces random inputs of the decoder by zeros, so that it must rely on its state.

    Word dropout (Bowman et al., 2016, section 3.2) weakens the decoder of a text for the same purpose. The first input
    of a segment is kept because it tells where the segment begins (Trinh et al., 2018, figure 2).

    Args:
      key: the key of the step; each row derives its own key, as in `sample_anchors`.
      segments: leaves `[B, A, S, ...]`.
      rows: int32 `[B]`, the index of each example in the global batch.
      rate: the share of inputs that is dropped; 1 keeps only the first.
    """
    if rate == 0:
        return segments
    shape = segments.mask.shape[1:]

    def keep_row(row: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, row), 1.0 - rate, shape)

    kept = jax.vmap(keep_row)(rows) | (jnp.arange(shape[1]) == 0)
    return segments._replace(inputs=tree_where(kept, segments.inputs, 0))
