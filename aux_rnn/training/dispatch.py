"""Compiles and dispatches training steps: one on a batch that the host sends, or several on examples on the devices.

The second leaves the host less to do per step, which limits small networks: it sends the indices of the examples
instead of a batch, and starts several steps at once. Both compute the same up to rounding, and a step gives the same
bits in a dispatch of any size.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import numpy as np

from aux_rnn.config.settings import MAX_STEPS, Config, ModelConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Examples, TrainBatches, steps_per_epoch
from aux_rnn.distributed import ProcessGroup
from aux_rnn.training.compilation import SMALLER_STEP, CompiledPhase, compile_step, count_bytes, require_memory
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import replicate, shard
from aux_rnn.training.steps import Steps, TrainState, create_train_state

MAX_SECONDS = 0.1  # of a dispatch of several steps, so that a run stops soon when asked to
MAX_BYTES = 2**28  # of examples; the choice does not depend on the free memory, as rounding depends on it


@dataclasses.dataclass(frozen=True)
class Dispatch:
    """A number of steps, and their batch and constants as in `CompiledStep`."""

    count: int
    arguments: tuple[dict[str, Any], ...]


class Dispatcher:
    """Compiles, prepares and starts the training steps of a run. All processes of a run create and call it alike.

    Args:
      config: the settings of the run.
      steps: the steps for these examples and devices.
      examples: the training set.
      processes: all processes of the run.

    Raises:
      ConfigError: the batches do not fit the examples or the processes, or the devices have too little memory for the
        examples that they are to hold.
    """

    def __init__(self, config: Config, steps: Steps, examples: Examples, processes: ProcessGroup) -> None:
        self._config, self._processes, run = config, processes, config.run
        self._steps = {"pretrain": steps.pretrain_many, "train": steps.train_many}
        self._batches = TrainBatches(examples, run.batch_size, run.seed, processes.index, processes.count)
        self._adapts = run.steps_per_dispatch == "auto"
        self._most = 1 if self._adapts else int(run.steps_per_dispatch)
        keeps_examples = fits_devices(run.data_on_device, self._batches, processes)
        self._examples = replicate(pad_examples(self._batches)) if keeps_examples else {}

    def example_bytes(self) -> int:
        """Returns the memory of the examples on each device."""
        return sum(values.nbytes for values in self._examples.values())

    def compile(self, spec: SequenceSpec, plan: Plan) -> dict[str, CompiledPhase]:
        """Compiles the training steps of the phases that the plan has, 'pretrain' and 'train'.

        Raises ConfigError if the training state or a step needs more memory than is available, and ProcessError if it
        does in another process.
        """
        config, processes = self._config, self._processes
        shapes = jax.eval_shape(partial(create_train_state, config, spec, plan))
        state_bytes = count_bytes(shapes)
        size = largest_size(config.model)
        require_memory(state_bytes, (*size, "smaller"), "the parameters and the optimizer need", processes)
        state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)  # several processes need arrays
        counts = {"pretrain": plan.pretrain_steps, "train": plan.train_steps}
        arguments = self.prepare(0, 1).arguments
        phases = {name: compile_step(self._steps[name], state, *arguments) for name, count in counts.items() if count}
        step_bytes = state_bytes + max((phase.step_bytes for phase in phases.values()), default=0)
        remedy = SMALLER_STEP + ", or data_on_device=never" * bool(self._examples)
        require_memory(step_bytes, ("batch_size", config.run.batch_size, remedy), "a training step needs", processes)
        return phases

    def prepare(self, step: int, limit: int) -> Dispatch:
        """Returns the next dispatch after `step` steps, of at least one and at most `limit` steps."""
        batch = shard({"rows": self._batches.places()})
        devices, share = batch["rows"].shape
        if self._examples:
            count = min(limit, self._most)
            indices = np.zeros((devices, MAX_STEPS, share), np.int32)  # always of one shape, which is compiled once
            for number in range(count):
                indices[:, number] = self._batches.indices(step + number).reshape(devices, share)
        else:
            count, batch["examples"] = 1, shard(self._batches[step])
            indices = np.tile(np.arange(share, dtype=np.int32), (devices, 1, 1))
        batch |= {"count": np.full(devices, count, np.int32), "indices": indices}
        return Dispatch(count, (batch, self._examples))

    def start(self, phase: str, state: TrainState, dispatch: Dispatch) -> TrainState:
        """Starts the steps; returns the state after them, which takes the memory of the old one."""
        return self._steps[phase](state, *dispatch.arguments)

    def adapt(self, steps_per_second: float) -> None:
        """Chooses how many steps the next dispatches have, unless that is set; process 0 decides."""
        if self._adapts and self._examples:
            most = np.clip(int(steps_per_second * MAX_SECONDS), 1, MAX_STEPS)
            self._most = self._processes.broadcast(int(most))


def padded_shapes(examples: Examples, batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes in which devices hold examples: with one batch more than an epoch, the inputs flat `[N, ...]`.

    Data sets with equally many batches get arrays of one shape, and thus the same program in the compilation cache. A
    TPU would copy inputs with small last dimensions to another layout in every dispatch.
    """
    rows = batch_size * (1 + steps_per_epoch(len(examples), batch_size))
    return {
        name: jax.ShapeDtypeStruct((rows, values[0].size) if name == "inputs" else (rows,), values.dtype)
        for name, values in examples.arrays().items()
    }


def pad_examples(batches: TrainBatches) -> dict[str, np.ndarray]:
    """Returns the arrays of all examples in their `padded_shapes`, filled up with zeros."""
    arrays, padded = batches.examples.arrays(), {}
    for name, like in padded_shapes(batches.examples, batches.batch_size).items():
        values = arrays[name].reshape(-1, *like.shape[1:])
        padded[name] = np.pad(values, [(0, new - old) for new, old in zip(like.shape, values.shape, strict=True)])
    return padded


def fits_devices(when: str, batches: TrainBatches, processes: ProcessGroup) -> bool:
    """Returns whether the devices hold the examples. Raises ConfigError if they always must and cannot."""
    size = count_bytes(padded_shapes(batches.examples, batches.batch_size))
    if when == "always":
        require_memory(size, ("data_on_device", when, "never"), "the examples need", processes)
    copies = jax.local_device_count() if jax.default_backend() == "cpu" else 1  # in the same memory
    return holds_examples(when, copies * size)


def holds_examples(when: str, size: int) -> bool:
    """Returns whether a memory holds examples of `size` bytes, by the setting `data_on_device`."""
    return when == "always" or (when == "auto" and size <= MAX_BYTES)


def largest_size(config: ModelConfig) -> tuple[str, Any]:
    """Returns the name and value of the largest size of a layer."""
    sizes = {name: value for name, value in vars(config).items() if name.endswith(("_size", "_sizes"))}
    return max(sizes.items(), key=lambda setting: np.max(setting[1]))
