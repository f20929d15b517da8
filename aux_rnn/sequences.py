"""Pixel sequences from images; anchors, and the segments that the decoder must produce at them. Pure functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Segments(NamedTuple):
    """What one decoder is asked for: `A` segments of `S` elements an example.

    Attributes:
      anchors: int32 `[B, A]`, the position `a` whose state `s[a]` the decoder starts from.
      inputs: `[B, A, S, C]` (tokens: `[B, A, S]`), the element before each target, zero before the start of the
        sequence.
      targets: like `inputs`, the elements to produce, in the order of the sequence.
      mask: bool `[B, A, S]`, false where a sequence shorter than the segment has no target.
    """

    anchors: jax.Array
    inputs: jax.Array
    targets: jax.Array
    mask: jax.Array


def image_to_sequence(images: jax.Array, permutation: np.ndarray | None = None) -> jax.Array:
    """Reads images row by row, one pixel a step.

    Args:
      images: uint8 `[B, height, width, C]`.
      permutation: int `[L]`, the pixel read at each step; None reads them in order.

    Returns:
      float32 `[B, L, C]` in [0, 1], `L = height * width`.
    """
    pixels = images.reshape(images.shape[0], -1, images.shape[-1])
    if permutation is not None:
        pixels = pixels[:, permutation]
    return pixels.astype(jnp.float32) / 255


def make_permutation(length: int, seed: int) -> np.ndarray:
    """The permutation of `0 .. length - 1` that belongs to `seed`, int64 `[length]`; the same on every machine."""
    # NumPy promises that the raw output of a bit generator stays the same; `Generator.permutation` may change.
    return np.argsort(np.random.PCG64(seed).random_raw(length), kind="stable")


def allowed_anchors(kind: str, lengths: jax.Array, segment_length: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The anchors at which the whole segment fits, counted from the start of each example's own sequence.

    An example shorter than the segment is asked for as much as it has.

    Args:
      kind: 'reconstruct' (`S <= a <= n`) or 'predict' (`1 <= a <= n - S`).
      lengths: int32 `[B]`, each example's own length `n`.
      segment_length: `S`.

    Returns:
      The first and the last allowed anchor and the number of targets at it, each int32 `[B]`.
    """
    if kind == "reconstruct":
        targets = jnp.minimum(segment_length, lengths)
        return targets, lengths, targets
    targets = jnp.clip(lengths - 1, 0, segment_length)
    return jnp.minimum(1, lengths), lengths - targets, targets


def sample_anchors(key: jax.Array, rows: jax.Array, first: jax.Array, last: jax.Array, num_anchors: int) -> jax.Array:
    """Draws anchors uniformly from `first` to `last`, both included, anew for every key and every row.

    Each row draws from its own key, so that a row's anchors depend on its place in the global batch and not on how the
    batch is laid out over devices.

    Args:
      key: the step's key.
      rows: int32 `[B]`, the place of each example in the global batch.
      first: int32 `[B]`.
      last: int32 `[B]`.
      num_anchors: `A`.

    Returns:
      int32 `[B, A]`.
    """

    def sample_row(row: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
        return jax.random.randint(jax.random.fold_in(key, row), (num_anchors,), low, high + 1)

    return jax.vmap(sample_row)(rows, first, last)


def take_elements(inputs: jax.Array, positions: jax.Array, earliest: jax.Array) -> jax.Array:
    """The elements at `positions`, zero where a position lies before the start of the sequence.

    Args:
      inputs: `[B, L, C]` or `[B, L]`.
      positions: int32 `[B, ...]`.
      earliest: int32 `[B]`, the position of each example's first own element.

    Returns:
      `[B, ..., C]` or `[B, ...]`.
    """
    flat = positions.reshape(positions.shape[0], -1)
    inside = flat >= earliest[:, None]
    taken = jax.vmap(lambda sequence, where: sequence[where])(inputs, jnp.clip(flat, 0, inputs.shape[1] - 1))
    taken = jnp.where(inside.reshape(inside.shape + (1,) * (taken.ndim - 2)), taken, 0)
    return taken.reshape(positions.shape + inputs.shape[2:])


def cut_segments(kind: str, inputs: jax.Array, lengths: jax.Array, anchors: jax.Array, segment_length: int) -> Segments:
    """The segments at given anchors: `x[a-S .. a-1]` to reconstruct, `x[a .. a+S-1]` to predict.

    The decoder's inputs and targets are data: no gradient goes through them.

    Args:
      kind: 'reconstruct' or 'predict'.
      inputs: `[B, L, C]` or `[B, L]`, padded on the left.
      lengths: int32 `[B]`, each example's own length.
      anchors: int32 `[B, A]`, counted from the start of the padded sequence.
      segment_length: `S`.
    """
    _, _, targets = allowed_anchors(kind, lengths, segment_length)
    begin = anchors - targets[:, None] if kind == "reconstruct" else anchors
    steps = jnp.arange(segment_length)
    positions = begin[:, :, None] + steps
    data = jax.lax.stop_gradient(inputs)
    earliest = inputs.shape[1] - lengths
    mask = jnp.broadcast_to(steps < targets[:, None, None], positions.shape)
    return Segments(
        anchors, take_elements(data, positions - 1, earliest), take_elements(data, positions, earliest), mask
    )


def draw_segments(
    key: jax.Array,
    kind: str,
    inputs: jax.Array,
    lengths: jax.Array,
    rows: jax.Array,
    num_anchors: int,
    segment_length: int,
) -> Segments:
    """Draws anchors for every example (`sample_anchors`) and cuts the segments at them (`cut_segments`)."""
    first, last, _ = allowed_anchors(kind, lengths, segment_length)
    padding = inputs.shape[1] - lengths
    anchors = padding[:, None] + sample_anchors(key, rows, first, last, num_anchors)
    return cut_segments(kind, inputs, lengths, anchors, segment_length)


def drop_inputs(key: jax.Array, segments: Segments, rows: jax.Array, rate: float) -> Segments:
    """Replaces inputs of the decoder by zeros at random, so that it must draw on its state.

    The word dropout of Bowman et al. (2016, section 3.2), which for the same purpose weakens the decoder of a text. The
    first input of a segment stays: it says where the segment begins (Trinh et al., 2018, figure 2).

    Args:
      key: the step's key; each row draws from its own, as in `sample_anchors`.
      segments: leaves `[B, A, S, ...]`.
      rows: int32 `[B]`, the place of each example in the global batch.
      rate: the share that is dropped; 1 leaves only the first.
    """
    if rate == 0:
        return segments
    shape = segments.mask.shape[1:]

    def keep_row(row: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(key, row), 1.0 - rate, shape)

    kept = jax.vmap(keep_row)(rows) | (jnp.arange(shape[1]) == 0)
    kept = kept.reshape(kept.shape + (1,) * (segments.inputs.ndim - kept.ndim))
    return segments._replace(inputs=jnp.where(kept, segments.inputs, 0))
