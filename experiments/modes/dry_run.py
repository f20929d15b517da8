"""`--mode=dry_run`: prints the settings, size, memory and expected time of a run, as a flag file with comments.

The training steps are compiled and timed on one example, repeated. Nothing is written, and no data is read or fetched.
"""

import dataclasses
import math
import statistics
import timeit
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from cli.tables import format_entry, format_table

from aux_rnn.config.fields import format_value
from aux_rnn.config.serialization import to_flat
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec, check_segment
from aux_rnn.datasets import (
    Examples,
    SplitSizes,
    divide_examples,
    evaluation_batches,
    find_dataset,
    steps_per_epoch,
)
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.model.flops import count_training_step
from aux_rnn.storage.checkpoints import shapes_of
from aux_rnn.system.machine import warn_of_precision
from aux_rnn.system.memory import describe_devices
from aux_rnn.system.timing import format_duration
from aux_rnn.training.compilation import CompiledPhase
from aux_rnn.training.dispatch import Dispatch, Dispatcher
from aux_rnn.training.experiment import check_pixel_loss, check_together
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import broadcast, replicate, shard
from aux_rnn.training.steps import create_train_state, make_steps

TIMED_STEPS = 5

Row = tuple[str, str]  # a name and its value


class Planned(NamedTuple):
    """Holds what follows from the settings without reading data; the sizes are those of the published splits."""

    spec: SequenceSpec
    sizes: SplitSizes
    plan: Plan
    permutation: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class DryRun:
    """Facts about a run that has not begun.

    Attributes:
      shapes: of the parameters by path.
      state_bytes: memory of the training state on each device.
      example_bytes: memory of the training examples on each device; 0 if the host sends them.
      compiled: the training steps by phase.
      seconds: median time of a step by phase, and of a batch of 'evaluate'.
    """

    config: Config
    planned: Planned
    shapes: dict[str, list[int]]
    state_bytes: int
    example_bytes: int
    compiled: dict[str, CompiledPhase]
    seconds: dict[str, float]

    def evaluations(self) -> int:
        """Returns the number of evaluated batches in the whole run."""
        run, sizes, points = self.config.run, self.planned.sizes, self.planned.plan.count_evaluations()
        validation, test = (math.ceil(size / run.batch_size) for size in (sizes.validation, sizes.test))
        return points * validation + (points if run.evaluate_test else 1) * test


def plan_run(config: Config) -> Planned:
    """Returns the course of a run on the whole data set. Raises ConfigError and DataError as training does."""
    dataset = find_dataset(config.data)
    spec = dataset.sequence_spec(config.data)
    check_pixel_loss(config, np.dtype(dataset.form.dtype))
    check_segment(config.model, spec)
    sizes = divide_examples(config.data, dataset.train_examples, dataset.test_examples)
    plan = Plan.of(config, steps_per_epoch(sizes.train, config.run.batch_size))
    return Planned(spec, sizes, plan, dataset.permutation(config.data))


def dry_run(config: Config, processes: ProcessGroup = SINGLE_PROCESS) -> DryRun:
    """Compiles and times the steps of a run; all of its processes call this together.

    Raises:
      ConfigError, DataError, ProcessError: as training does, except for data that is not prepared yet.
    """
    check_together(config, processes)
    planned, run = plan_run(config), config.run
    spec, _, plan, permutation = planned
    steps = make_steps(config, spec, plan, permutation)
    examples = make_examples(config, planned)
    dispatcher = Dispatcher(config, steps, examples, processes)
    compiled = dispatcher.compile(spec, plan)
    state = replicate(broadcast(create_train_state(config, spec, plan)))
    shapes, state_bytes = shapes_of(state.params), sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    batch = next(evaluation_batches(examples, run.batch_size, processes.index, processes.count))

    def train(phase: str, dispatch: Dispatch) -> Any:
        nonlocal state
        state = dispatcher.start(phase, state, dispatch)
        return state.step

    seconds = {}
    for phase in compiled:
        dispatcher.adapt(1 / median_seconds(partial(train, phase, dispatcher.prepare(0, 1))))
        several = dispatcher.prepare(0, plan.steps_until_due(0))
        seconds[phase] = median_seconds(partial(train, phase, several)) / several.count
    seconds["evaluate"] = median_seconds(lambda: steps.evaluate(state.params, shard(batch)))
    return DryRun(config, planned, shapes, state_bytes, dispatcher.example_bytes(), compiled, seconds)


def make_examples(config: Config, planned: Planned) -> Examples:
    """Returns one example as often as the training set has examples, for which the same programs are compiled."""
    form, count = find_dataset(config.data).form, planned.sizes.train
    inputs = np.broadcast_to(np.ones((), form.dtype), (count, *form.shape(config.data)))
    lengths = np.full(count, planned.spec.length, np.int32) if planned.spec.vocabulary_size else None
    return Examples(inputs, np.zeros(count, np.int32), lengths)


def median_seconds(call: Callable[[], Any]) -> float:
    """Returns the median time of `TIMED_STEPS` calls, after one that is not counted."""
    return statistics.median(timeit.repeat(lambda: jax.block_until_ready(call()), number=1, repeat=TIMED_STEPS + 1)[1:])


def format_dry_run(found: DryRun, workdir: str, processes: int = 1) -> str:
    """Formats a flag file of at most 80 columns, apart from settings and a folder with longer values."""
    opening = ["A dry run: nothing was trained or written.", "This is a flag file with all settings."]
    facts = list_facts(found, workdir, processes)
    return format_flag_file(found.config, opening, found.shapes, facts, list_times(found))


def format_flag_file(
    config: Config, opening: Sequence[str], shapes: dict[str, list[int]], facts: Iterable[Row], measured: Sequence[str]
) -> str:
    """Formats a flag file of all settings between an opening and further parts, which are comments."""
    entries = "\n".join(format_entry(name, value) for name, value in facts)
    parts = [opening, list_parameters(shapes), entries.split("\n"), measured]
    first, *rest = ("\n".join(f"# {line}".rstrip() for line in lines) for lines in parts)
    return "\n\n".join([first, "\n".join(format_flags(config)), *rest])


def format_flags(config: Config) -> list[str]:
    """Returns every setting as a line of a flag file."""
    return [f"--{name}={format_value(value)}" for name, value in to_flat(config).items()]


def list_parameters(shapes: dict[str, list[int]]) -> list[str]:
    rows = [(path, " x ".join(map(str, shape)), f"{math.prod(shape):,}") for path, shape in shapes.items()]
    rows.append(("total", "", f"{sum(map(math.prod, shapes.values())):,}"))
    return format_table(pd.DataFrame(rows, columns=["parameter", "shape", "count"])).splitlines()


def list_facts(found: DryRun, workdir: str, processes: int) -> Iterator[Row]:
    """Yields names and values of everything except times."""
    config, (spec, sizes, plan, _) = found.config, found.planned
    yield "sequences", f"{spec.describe()}, {spec.num_classes} classes"
    yield "examples", f"{sizes.train:,} train, {sizes.validation:,} validation, {sizes.test:,} test, as published"
    yield "steps", f"{plan.pretrain_steps:,} of pretraining, {plan.train_steps:,} of training"
    for phase, compiled in found.compiled.items():
        flops = 2 * count_training_step(config, spec, phase)
        yield phase, f"{flops / 1e9:,.3g} GFLOP in the matrix products of a step"
        yield "", f"{format_bytes(compiled.step_bytes)} on each device during a step"
    yield "memory", f"{format_bytes(found.state_bytes)} of parameters and optimizer on each device"
    if found.example_bytes:
        yield "", f"{format_bytes(found.example_bytes)} of training examples on each device"
    yield "devices", describe_devices() + (f" in {processes} processes" if processes > 1 else "")
    if warning := warn_of_precision(config.model.precision, jax.devices()[0].platform):
        yield "precision", warning
    yield "results", f"would go to {workdir}"


def list_times(found: DryRun) -> list[str]:
    """Returns the measured times and an estimate for the whole run, without reading data and writing checkpoints."""
    plan, rows, whole = found.planned.plan, [], 0.0
    counts = {"pretrain": plan.pretrain_steps, "train": plan.train_steps, "evaluate": found.evaluations()}
    for phase, seconds in found.seconds.items():
        compiling = found.compiled[phase].seconds if phase in found.compiled else 0.0
        total = seconds * counts[phase]
        whole += compiling + total
        times = f"{compiling:.1f} s", f"{1000 * seconds:,.1f} ms"
        rows.append((phase, *times, f"{counts[phase]:,}", format_duration(total)))
    rows.append(("the run", "", "", "", format_duration(whole)))
    table = pd.DataFrame(rows, columns=["measured", "compiling", "per step", "steps", "all steps"])
    note = "Downloading and reading data and writing checkpoints are not included."
    return [*format_table(table).splitlines(), note]


def format_bytes(size: int) -> str:
    """Formats a number of bytes, such as '1.2 GiB'."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
