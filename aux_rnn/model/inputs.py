"""Converts batches from the data pipeline to what the model reads."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.config.spec import SequenceSpec

RawBatch = dict[str, Any]


class Batch(NamedTuple):
    """Sequences and their labels.

    Attributes:
      inputs: float32 `[B, L, C]` or, for tokens, int32 `[B, L]`; padded on the left.
      lengths: int32 `[B]`, the length of each sequence; None where no sequence is padded.
      rows: int32 `[B]`, the index of each example in the global batch, from which its random keys are derived.
      mask: bool `[B]`, false for rows that only fill the batch.
      labels: int32 `[B]`; None where there are none.
    """

    inputs: jax.Array
    lengths: jax.Array | None
    rows: jax.Array
    mask: jax.Array
    labels: Any = None


def read_inputs(
    raw: RawBatch, spec: SequenceSpec, permutation: np.ndarray | None
) -> tuple[jax.Array, jax.Array | None]:
    """Returns the sequences and their lengths, as in `Batch`.

    Args:
      raw: `inputs` (uint8 images `[B, height, width, C]` or `[B, L, C]`, float32 values or tokens) and, where sequences
        are padded, `lengths`.
      spec: the shape and the kind of the sequences.
      permutation: int `[L]`, the pixel at each step; None keeps the order, row by row.

    Returns:
      Pixels as float32 in [0, 1], one per step, other values as they are, or tokens as int32; and the lengths.
    """
    inputs, lengths = raw["inputs"], raw.get("lengths")
    if spec.vocabulary_size:
        return inputs.astype(jnp.int32), lengths
    if jnp.issubdtype(inputs.dtype, jnp.floating):
        return inputs, lengths
    pixels = inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])
    if permutation is not None:
        pixels = pixels[:, permutation]
    return pixels.astype(jnp.float32) / 255, lengths


def read_batch(raw: RawBatch, spec: SequenceSpec, permutation: np.ndarray | None) -> Batch:
    """Returns the `Batch` of a raw batch that also has `labels`, `rows` and `mask` (see `read_inputs`)."""
    return Batch(*read_inputs(raw, spec, permutation), raw["rows"], raw["mask"], raw["labels"])
