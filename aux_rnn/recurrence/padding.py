"""Reads elements of sequences that are padded on the left."""

import jax
import jax.numpy as jnp


def sequence_starts(inputs: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """Returns the position of the first element of each sequence that is not padding, int32 `[B]`.

    Args:
      inputs: `[B, L, ...]`.
      lengths: int32 `[B]`, or None where no sequence is padded.
    """
    batch, length = inputs.shape[:2]
    return jnp.zeros(batch, jnp.int32) if lengths is None else length - lengths


def gather_padded(inputs: jax.Array, positions: jax.Array, starts: jax.Array) -> jax.Array:
    """Gathers the elements at `positions`, with zeros where a position lies before the start of the sequence.

    Args:
      inputs: `[B, L, C]` or `[B, L]`.
      positions: int32 `[B, ...]`.
      starts: int32 `[B]`, see `sequence_starts`.

    Returns:
      `[B, ..., C]` or `[B, ...]`.
    """
    flat = positions.reshape(positions.shape[0], -1)
    inside = flat >= starts[:, None]
    gathered = jax.vmap(lambda sequence, where: sequence[where])(inputs, jnp.clip(flat, 0, inputs.shape[1] - 1))
    gathered = jnp.where(inside.reshape(inside.shape + (1,) * (gathered.ndim - 2)), gathered, 0)
    return gathered.reshape(positions.shape + inputs.shape[2:])


def gather_windows(
    inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, steps: int
) -> tuple[jax.Array, jax.Array]:
    """Gathers the last `steps` elements before each end, one row per window, for a scan over the steps.

    Args:
      inputs: `[B, L, C]` or `[B, L]`.
      lengths: int32 `[B]`, or None where no sequence is padded.
      ends: int32 `[B, W]`.
      steps: `T`.

    Returns:
      A mask, bool `[T, B * W]`, false at positions before the start of a sequence, and the elements `[T, B * W, ...]`.
    """
    starts = sequence_starts(inputs, lengths)
    positions = ends[:, :, None] - steps + jnp.arange(steps)
    mask, elements = positions >= starts[:, None, None], gather_padded(inputs, positions, starts)
    to_rows = [jnp.swapaxes(x.reshape(ends.size, steps, *x.shape[3:]), 0, 1) for x in (mask, elements)]
    return to_rows[0], to_rows[1]
