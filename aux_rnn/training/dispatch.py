"""Dispatches training steps: one with a batch from the host, or several on examples that the devices hold.

The second leaves the host less to do per step, which limits small networks: it sends the indices of the examples
instead of a batch, and starts several steps at once. Both compute the same up to rounding, and a step gives the same
bits in a dispatch of any size.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from aux_rnn.config.settings import MOST_STEPS, RunConfig
from aux_rnn.datasets import TrainBatches, steps_per_epoch
from aux_rnn.distributed import ProcessGroup
from aux_rnn.training.memory_check import require_memory
from aux_rnn.training.sharding import CompiledStep, replicate, shard
from aux_rnn.training.steps import Steps, TrainState

MAX_SECONDS = 0.1  # of a dispatch of several steps, so that a run stops soon when asked to
MAX_BYTES = 2**28  # of examples; the choice does not depend on the free memory, as rounding depends on it


@dataclasses.dataclass(frozen=True)
class Dispatch:
    """A number of steps, and their batch and constants as in `CompiledStep`."""

    count: int
    arguments: tuple[dict[str, Any], ...]


class Dispatcher:
    """Prepares and starts the training steps of a run. All processes of a run create and call it alike.

    Args:
      run: the settings of the run, of which `data_on_device` and `steps_per_dispatch` count.
      steps: the steps for these examples and devices.
      batches: this process's batches.
      processes: all processes of the run.

    Raises:
      ConfigError: the devices have too little memory for the examples that they are to hold.
    """

    def __init__(self, run: RunConfig, steps: Steps, batches: TrainBatches, processes: ProcessGroup) -> None:
        self._steps, self._batches, self._processes = steps, batches, processes
        self._adapts = run.steps_per_dispatch == "auto"
        self._most = 1 if self._adapts else int(run.steps_per_dispatch)
        keeps_examples = fits_devices(run.data_on_device, batches, processes)
        self._examples = replicate(pad_examples(batches)) if keeps_examples else {}

    def example_bytes(self) -> int:
        """Returns the memory of the examples on each device."""
        return sum(values.nbytes for values in self._examples.values())

    def step_of(self, phase: str) -> CompiledStep:
        """Returns the compiled step of 'pretrain' or 'train', for the arguments that `prepare` returns."""
        return {"pretrain": self._steps.pretrain_many, "train": self._steps.train_many}[phase]

    def prepare(self, step: int, limit: int) -> Dispatch:
        """Returns the next dispatch after `step` steps, of at least one and at most `limit` steps."""
        batch = shard({"rows": self._batches.places()})
        devices, share = batch["rows"].shape
        if self._examples:
            count = min(limit, self._most)
            indices = np.zeros((devices, MOST_STEPS, share), np.int32)  # always of one shape, which is compiled once
            for number in range(count):
                indices[:, number] = self._batches.indices(step + number).reshape(devices, share)
        else:
            count, batch["examples"] = 1, shard(self._batches[step])
            indices = np.tile(np.arange(share, dtype=np.int32), (devices, 1, 1))
        batch |= {"count": np.full(devices, count, np.int32), "indices": indices}
        return Dispatch(count, (batch, self._examples))

    def start(self, phase: str, state: TrainState, dispatch: Dispatch) -> TrainState:
        """Starts the steps; returns the state after them, which takes the memory of the old one."""
        return self.step_of(phase)(state, *dispatch.arguments)

    def adapt(self, steps_per_second: float) -> None:
        """Chooses how many steps the next dispatches have, unless that is set; process 0 decides."""
        if self._adapts and self._examples:
            most = np.clip(int(steps_per_second * MAX_SECONDS), 1, MOST_STEPS)
            self._most = self._processes.broadcast(int(most))


def count_padding(batches: TrainBatches) -> int:
    """Returns the rows that fill up the examples, to one batch more than an epoch has.

    Data sets with equally many batches get arrays of one shape, and thus the same program in the compilation cache.
    """
    count, size = len(batches.examples), batches.batch_size
    return size * (1 + steps_per_epoch(count, size)) - count


def pad_examples(batches: TrainBatches) -> dict[str, np.ndarray]:
    """Returns the arrays of all examples, filled up, the inputs flat `[N, ...]`.

    A TPU would copy inputs with small last dimensions to another layout in every dispatch.
    """
    arrays, missing = batches.examples.arrays(), count_padding(batches)
    arrays["inputs"] = arrays["inputs"].reshape(len(batches.examples), -1)
    return {name: np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) for name, values in arrays.items()}


def fits_devices(when: str, batches: TrainBatches, processes: ProcessGroup) -> bool:
    """Returns whether the devices hold the examples. Raises ConfigError if they always must and cannot."""
    row = sum(values[:1].nbytes for values in batches.examples.arrays().values())
    size = row * (len(batches.examples) + count_padding(batches))
    if when == "always":
        require_memory(size, ("data_on_device", when), "the examples need", processes)
    copies = jax.local_device_count() if jax.default_backend() == "cpu" else 1  # in the same memory
    return when == "always" or (when == "auto" and copies * size <= MAX_BYTES)
