"""A rehearsal of a run: a few of its steps on random sequences of its shape, and how long all of it will take.

Nothing is written, and no data is read or fetched: a step takes as long whatever is in it.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from benchmarking.batches import make_batch

from aux_rnn.config import Config, SequenceSpec
from aux_rnn.cost import count_training_step
from aux_rnn.datasets import SplitSizes, divide_examples, find_dataset, steps_per_epoch
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.experiment import check_together
from aux_rnn.footprint import count_step_bytes
from aux_rnn.memory import describe_devices
from aux_rnn.plan import Plan
from aux_rnn.sequences import make_permutation
from aux_rnn.shapes import shapes_of
from aux_rnn.steps import RawBatch, TrainState, broadcast, create_train_state, make_steps, replicate, shard

MOST_CALLS, ENOUGH_SECONDS = 5, 10.0  # of each program, after the call that compiles


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a compiled program takes.

    Attributes:
      compile_seconds: what its first call takes beyond an ordinary one.
      seconds: the median of the calls after it.
      measured: how many those were.
      count: how many of them the whole run makes.
    """

    compile_seconds: float
    seconds: float
    measured: int
    count: int

    def total(self) -> float:
        """Seconds in the whole run."""
        return self.compile_seconds + self.count * self.seconds


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What is known of a run before it has begun.

    Attributes:
      config: what would be trained.
      spec: what the sequences are.
      sizes: examples of each split.
      may_be_less: whether `sizes` are as published, and the user may have a part.
      plan: its steps.
      shapes: of the parameters by path.
      state_bytes: of the parameters and the optimizer, on every device.
      step_bytes: an estimate of what a training step takes besides, on all devices together.
      flops: of the matrix products of a step, two operations a multiply-add, by phase.
      devices: in words, of all processes.
      processes: how many.
      timings: by program: 'pretrain', 'train', 'evaluate'.
    """

    config: Config
    spec: SequenceSpec
    sizes: SplitSizes
    may_be_less: bool
    plan: Plan
    shapes: dict[str, list[int]]
    state_bytes: int
    step_bytes: int
    flops: dict[str, float]
    devices: str
    processes: int
    timings: dict[str, Timing]

    def seconds(self) -> float:
        """What the whole run takes, apart from reading data and writing checkpoints."""
        return sum(timing.total() for timing in self.timings.values())


def rehearse(config: Config, processes: ProcessGroup = SINGLE_PROCESS) -> Rehearsal:
    """Compiles and times the steps of a run.

    Args:
      config: what would be trained.
      processes: those of the run. All of them call this.

    Raises:
      ConfigError, DataError, ProcessError: as training does, but for data that is not prepared yet.
    """
    check_together(config, processes)
    dataset = find_dataset(config.data)
    spec = dataset.sequence_spec(config.data)
    sizes = divide_examples(config.data, dataset.train_examples, dataset.test_examples)
    plan = Plan.of(config, steps_per_epoch(sizes.train, config.run.batch_size))
    state = create_train_state(config, spec, plan)
    counts = count_calls(config, plan, sizes)
    return Rehearsal(
        config=config,
        spec=spec,
        sizes=sizes,
        may_be_less=dataset.may_be_a_part,
        plan=plan,
        shapes=shapes_of(state.params),
        state_bytes=sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state))),
        step_bytes=count_step_bytes(config, spec),
        flops={phase: 2.0 * count_training_step(config, spec, phase) for phase in counts if phase != "evaluate"},
        devices=describe_devices(),
        processes=processes.count,
        timings=time_programs(config, spec, plan, state, counts, processes),
    )


def count_calls(config: Config, plan: Plan, sizes: SplitSizes) -> dict[str, int]:
    """How often a run calls each of its programs, without those that it does not call."""
    evaluations = [step for step in range(1, plan.total_steps + 1) if plan.should_evaluate(step)]
    batches = {split: math.ceil(getattr(sizes, split) / config.run.batch_size) for split in ("validation", "test")}
    on_test = len(evaluations) if config.run.evaluate_test else 1  # at the end
    counts = {
        "pretrain": plan.pretrain_steps,
        "train": plan.train_steps,
        "evaluate": len(evaluations) * batches["validation"] + on_test * batches["test"],
    }
    return {name: count for name, count in counts.items() if count}


def time_programs(
    config: Config, spec: SequenceSpec, plan: Plan, state: TrainState, counts: dict[str, int], processes: ProcessGroup
) -> dict[str, Timing]:
    """Calls each program a few times, in the order in which a run does."""
    is_permuted = find_dataset(config.data).permuted
    permutation = make_permutation(spec.length, config.data.permutation_seed) if is_permuted else None
    steps = make_steps(config, spec, plan, permutation)
    batch = shard(make_share(config, spec, processes))
    state = replicate(broadcast(state))

    def call(name: str) -> Any:
        nonlocal state
        if name == "evaluate":
            return steps.evaluate(state.params, batch)
        state = getattr(steps, name)(state, batch)
        return state.step

    return {name: time_calls(partial(call, name), count, processes) for name, count in counts.items()}


def make_share(config: Config, spec: SequenceSpec, processes: ProcessGroup) -> RawBatch:
    """This process's part of a batch."""
    size = config.run.batch_size // processes.count
    own = slice(processes.index * size, (processes.index + 1) * size)
    return {name: values[own] for name, values in make_batch(spec, config.run.batch_size, config.run.seed).items()}


def time_calls(
    call: Callable[[], Any],
    count: int,
    processes: ProcessGroup = SINGLE_PROCESS,
    now: Callable[[], float] = time.monotonic,
) -> Timing:
    """Times a program, more often the faster it is; all processes call it equally often.

    Args:
      call: starts it; what it returns is waited for.
      count: how often the run will.
      processes: that call it together.
      now: the time in seconds.
    """

    def clock() -> float:
        begin = now()
        jax.block_until_ready(call())
        return now() - begin

    first, second = clock(), clock()
    more = processes.broadcast(min(MOST_CALLS, int(ENOUGH_SECONDS / max(second, 1e-9))) - 1)
    seconds = [second, *(clock() for _ in range(more))]
    typical = statistics.median(seconds)
    return Timing(max(0.0, first - typical), typical, len(seconds), count)
