"""Batches for training, in random order, and for evaluation.

The training order is a pure function of seed and step, so that a resumed run sees the same batches as an uninterrupted
one. A global batch does not depend on the number of processes; each of P processes takes its contiguous share, rows
p B / P to (p + 1) B / P.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from aux_rnn.config.fields import setting_error
from aux_rnn.datasets.examples import Examples

# {'inputs': [B, ...] as in `Examples`, 'labels': int32 [B], 'rows': int32 [B], 'mask': bool [B]}, and for padded
# sequences 'lengths': int32 [B]. The rows are places in the global batch, or in the split for evaluation.
Batch = dict[str, np.ndarray]


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """Returns the number of whole batches in one pass over the examples; raises ConfigError if there is none."""
    if batch_size > num_examples:
        raise setting_error("batch_size", batch_size, f"at most {num_examples}, the number of training examples")
    return num_examples // batch_size


def local_rows(batch_size: int, process_index: int, process_count: int) -> slice:
    """Returns the rows of a global batch that belong to a process; raises ConfigError if they cannot be divided."""
    if batch_size % process_count:
        raise setting_error("batch_size", batch_size, f"a multiple of the {process_count} processes")
    share = batch_size // process_count
    return slice(process_index * share, (process_index + 1) * share)


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """Shuffled batches by step, without end.

    Every epoch visits the N examples in another random order, given by the seed, and drops the remainder that does not
    fill a batch of B. The order is that of `grain.MapDataset.range(N).seed(seed).shuffle()`.

    Raises:
      ConfigError: B is larger than N, or P does not divide it.
    """

    examples: Examples
    batch_size: int
    seed: int
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self) -> None:
        steps_per_epoch(len(self.examples), self.batch_size)
        local_rows(self.batch_size, self.process_index, self.process_count)

    def places(self) -> np.ndarray:
        """Returns the places of this process's rows in the global batch, int32 `[B / P]`, ascending."""
        rows = local_rows(self.batch_size, self.process_index, self.process_count)
        return np.arange(self.batch_size, dtype=np.int32)[rows]

    def indices(self, step: int) -> np.ndarray:
        """Returns the indices of this process's examples of a step, which counts from 0, int32 `[B / P]`."""
        # Imported here because grain takes seconds to import. Its MapDataset takes three times as long per index.
        from grain.experimental import index_shuffle

        epoch, number = divmod(step, steps_per_epoch(len(self.examples), self.batch_size))
        seed = (int(np.random.SeedSequence((self.seed, 1)).generate_state(1)[0]) + epoch) % 2**32
        last = len(self.examples) - 1
        places = (number * self.batch_size + self.places()).tolist()
        return np.array([index_shuffle(place, max_index=last, seed=seed, rounds=4) for place in places], np.int32)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """Returns this process's examples of a step, arrays as in a `Batch`."""
        indices = self.indices(step)
        return {name: values[indices] for name, values in self.examples.arrays().items()}


def evaluation_batches(
    examples: Examples, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[Batch]:
    """Yields every example once, in order, in a `Batch` of B / P rows, for arguments as those of `TrainBatches`.

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
