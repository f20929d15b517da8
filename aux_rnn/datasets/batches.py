"""Batches for training and for evaluation.

The training order is a pure function of seed and step, so that a resumed run sees what an uninterrupted one would have
seen. A global batch does not depend on the number of processes; each of P processes takes its contiguous share, rows
p B / P to (p + 1) B / P.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from aux_rnn.config.fields import reject
from aux_rnn.datasets.examples import Examples

if TYPE_CHECKING:
    import grain

# {'inputs': [B, ...] as in `Examples`, 'labels': int32 [B], 'rows': int32 [B], 'mask': bool [B]}, and for padded
# sequences 'lengths': int32 [B]. The rows are places in the global batch, or in the split for evaluation.
Batch = dict[str, np.ndarray]


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns the number of whole batches in one pass over the examples; raises ConfigError if there is none."""
    if batch_size > num_examples:
        raise reject("batch_size", batch_size, f"at most {num_examples}, the number of training examples")
    return num_examples // batch_size


def local_rows(batch_size: int, process_index: int, process_count: int) -> slice:
    """Returns the rows of a global batch that belong to a process; raises ConfigError if they cannot be divided."""
    if batch_size % process_count:
        raise reject("batch_size", batch_size, f"a multiple of the {process_count} processes")
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


def train_batches(
    examples: Examples, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> "grain.MapDataset[Batch]":
    """Returns shuffled batches by step, without end.

    Every epoch visits the N examples in another random order, given by the seed, and drops the remainder that does not
    fill a batch. The element `step`, from 0 and also beyond the first epoch, is a `Batch` of B / P rows for the process
    p, with a mask that is true; B, the batch size, is that of all P processes. The length is the number of steps of one
    epoch. Raises ConfigError if B is larger than N, or P does not divide it.
    """
    # Here and not above: grain takes seconds to import.
    import grain

    steps_per_epoch(len(examples), batch_size)
    local, arrays = local_rows(batch_size, process_index, process_count), examples.arrays()
    places = np.arange(batch_size, dtype=np.int32)[local]

    def gather(rows: np.ndarray) -> Batch:
        batch = {name: values[rows[local]] for name, values in arrays.items()}
        return {**batch, "rows": places, "mask": np.ones(len(places), bool)}

    rows = grain.MapDataset.range(len(examples)).seed(seed).shuffle()
    return rows.batch(batch_size, drop_remainder=True).map(gather)


def evaluation_batches(
    examples: Examples, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """Yields every example once, in order, in a `Batch` of B / P rows, for arguments as those of `train_batches`.

    The last batch is filled up with zeros, where its mask is false. All processes get the same number of batches.
    Raises ConfigError if P does not divide B.
    """
    local, arrays = local_rows(batch_size, process_index, process_count), examples.arrays()
    for start in range(0, len(examples), batch_size):
        rows = np.arange(start, start + batch_size, dtype=np.int32)[local]
        mask = rows < len(examples)
        batch = {name: np.zeros((len(rows), *values.shape[1:]), values.dtype) for name, values in arrays.items()}
        for name, values in arrays.items():
            batch[name][mask] = values[rows[mask]]
        yield {**batch, "rows": rows, "mask": mask}
