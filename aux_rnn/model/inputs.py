"""Converts batches from the data pipeline to what the model reads."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.segments import image_to_sequence

RawBatch = dict[str, Any]
InputFn = Callable[[RawBatch], tuple[jax.Array, jax.Array | None]]


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


def make_input_fn(spec: SequenceSpec, permutation: np.ndarray | None) -> InputFn:
    """Makes the function from a raw batch to the sequences and their lengths, as in `Batch`.

    Args:
      spec: the shape and the kind of the sequences.
      permutation: int `[L]`, the pixel at each step; None keeps the order.

    Returns:
      A function of a mapping with `inputs` (uint8 images, float32 values or tokens) and, where sequences are padded,
      `lengths`. Pixels become float32 in [0, 1]; other values stay as they are.
    """

    def read(raw: RawBatch) -> tuple[jax.Array, jax.Array | None]:
        inputs, lengths = raw["inputs"], raw.get("lengths")
        if spec.vocabulary_size:
            return inputs.astype(jnp.int32), lengths
        if jnp.issubdtype(inputs.dtype, jnp.floating):
            return inputs, lengths
        return image_to_sequence(inputs, permutation), lengths

    return read


def make_batch_fn(spec: SequenceSpec, permutation: np.ndarray | None) -> Callable[[RawBatch], Batch]:
    """Makes the function from a raw batch with `labels`, `rows` and `mask` to a `Batch` (see `make_input_fn`)."""
    read = make_input_fn(spec, permutation)

    def make_batch(raw: RawBatch) -> Batch:
        inputs, lengths = read(raw)
        return Batch(inputs, lengths, raw["rows"], raw["mask"], raw["labels"])

    return make_batch
