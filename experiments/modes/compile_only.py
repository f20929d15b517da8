"""`--mode=dry_run --topology=...`: compiles the steps of a run for hardware that need not be present."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.errors import JaxRuntimeError

from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import MAX_STEPS, Config
from aux_rnn.datasets import Examples, evaluation_batches
from aux_rnn.errors import first_line
from aux_rnn.storage.checkpoints import shapes_of
from aux_rnn.training.compilation import SMALLER_STEP, count_bytes, working_bytes
from aux_rnn.training.dispatch import holds_examples, padded_shapes
from aux_rnn.training.steps import create_train_state, make_steps
from modes.compiled_loops import Program, read_program
from modes.dry_run import Row, format_bytes, format_flag_file, make_examples, plan_run
from modes.topologies import Topology, find_topology

TPU_NOTE = "Never run on a TPU: cycles are the compiler's estimate, not times."
GPU_NOTE = "Not run: an operation is the launch of a kernel, and no time is estimated."
MIN_CACHED_SECONDS = "jax_persistent_cache_min_compile_time_secs"


class CompiledFor(NamedTuple):
    """A step that was compiled for a topology: the time it took here, the memory on one device, and the program.

    The peak is that of arguments, results, which may take the place of arguments, and scratch together.
    """

    seconds: float
    argument_bytes: int
    scratch_bytes: int
    peak_bytes: int
    program: Program


class CompiledRun(NamedTuple):
    """A run that was compiled for a topology.

    Attributes:
      phases: the programs 'pretrain', 'train' and 'evaluate'.
      shapes: of the parameters by path.
      example_bytes: memory of the training examples on each device; 0 if the hosts send them.
    """

    topology: Topology
    phases: dict[str, CompiledFor]
    shapes: dict[str, list[int]]
    example_bytes: int


def compile_for(config: Config, name: str) -> CompiledRun:
    """Compiles all programs that a run has: the dispatches of training steps, and the evaluation of a batch.

    Raises:
      ConfigError: the hardware or its compiler is missing, or a step does not fit its devices or their memory.
      DataError: a data set whose form is unknown until it has been prepared is not.
    """
    planned, topology = plan_run(config), find_topology(name)
    spec, _, plan, permutation = planned
    devices, batch_size = len(topology.devices), config.run.batch_size
    if batch_size % devices:
        raise setting_error("batch_size", batch_size, f"a multiple of the {devices} devices of --topology={name}")
    steps = make_steps(config, spec, plan, permutation, topology.devices)
    state = jax.eval_shape(partial(create_train_state, config, spec, plan))
    examples = make_examples(config, planned)
    batch = {
        name: values.reshape(devices, -1, *values.shape[1:])
        for name, values in next(evaluation_batches(examples, batch_size)).items()
    }
    resident = resident_examples(config, examples)
    indices = np.zeros((devices, MAX_STEPS if resident else 1, batch_size // devices), np.int32)
    dispatch: dict[str, Any] = {"rows": batch["rows"], "count": np.ones(devices, np.int32), "indices": indices}
    if not resident:
        dispatch["examples"] = {name: batch[name] for name in examples.arrays()}
    programs: list[tuple[Any, ...]] = [
        ("pretrain", plan.pretrain_steps, steps.pretrain_many, state, dispatch, resident),
        ("train", plan.train_steps, steps.train_many, state, dispatch, resident),
        ("evaluate", 1, steps.evaluate, state.params, batch),
    ]
    with without_cache():
        phases = {
            phase: compile_phase(config, topology, phase, partial(step.compile, *arguments), count_bytes(resident))
            for phase, count, step, *arguments in programs
            if count
        }
    return CompiledRun(topology, phases, shapes_of(state.params), count_bytes(resident))


def resident_examples(config: Config, examples: Examples) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns the shapes of the examples that every device holds; {} if it holds none."""
    shapes = padded_shapes(examples, config.run.batch_size)
    return shapes if holds_examples(config.run.data_on_device, count_bytes(shapes)) else {}


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Keeps compiled programs out of JAX's cache, from which those for other hardware cannot be read again."""
    before = jax.config.values[MIN_CACHED_SECONDS]
    jax.config.update(MIN_CACHED_SECONDS, math.inf)
    try:
        yield
    finally:
        jax.config.update(MIN_CACHED_SECONDS, before)


def compile_phase(
    config: Config, topology: Topology, phase: str, compile_step: Callable[[], Any], example_bytes: int
) -> CompiledFor:
    """Compiles one step. Raises ConfigError if it does not fit into the memory of a device with the examples."""
    begin, reason = time.monotonic(), ""
    try:
        compiled = compile_step()
        seconds, memory = time.monotonic() - begin, compiled.memory_analysis()
        # The examples are arguments of the training steps, and remain on the devices during evaluations.
        held = example_bytes if phase == "evaluate" else 0
        peak = held + memory.argument_size_in_bytes + working_bytes(memory)
        if peak > topology.usable_bytes:
            reason = f"{format_bytes(peak)} are needed and {format_bytes(topology.usable_bytes)} available"
    except JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        reason = first_line(error).partition(": ")[2]
    if reason:
        share = f"{config.run.batch_size // len(topology.devices)} rows on each device of --topology={topology.name}"
        smaller = SMALLER_STEP + ", or --data_on_device=never" * bool(example_bytes)
        remedy = f"{smaller}: the {phase} step with {share} does not fit ({reason})"
        raise setting_error("batch_size", config.run.batch_size, remedy)
    program = read_program(compiled.as_text())
    return CompiledFor(seconds, memory.argument_size_in_bytes, memory.temp_size_in_bytes, peak, program)


def format_compiled(config: Config, found: CompiledRun) -> str:
    """Formats a flag file of at most 80 columns, apart from settings with longer values."""
    note = TPU_NOTE if found.topology.devices[0].platform == "tpu" else GPU_NOTE
    opening = [f"Compiled for {found.topology.name}; nothing was trained or written.", note]
    loops = [line for phase, step in found.phases.items() for line in ["", *list_loops(phase, step.program)]]
    return format_flag_file(config, opening, found.shapes, list_facts(config, found), [*list_memory(found), *loops])


def list_facts(config: Config, found: CompiledRun) -> Iterator[Row]:
    topology, shapes = found.topology, found.shapes
    count, batch_size = len(topology.devices), config.run.batch_size
    hosts = "1 host" if topology.hosts == 1 else f"{topology.hosts} hosts, {count // topology.hosts} on each"
    yield "devices", f"{count} x {topology.devices[0].device_kind}, {hosts}"
    yield "rows", f"{batch_size // count} on each device, {batch_size // topology.hosts} from each host"
    yield "memory", f"{format_bytes(topology.usable_bytes)} on each device"
    yield "parameters", f"{format_bytes(4 * sum(map(math.prod, shapes.values())))} on each device"
    if found.example_bytes:
        yield "examples", f"{format_bytes(found.example_bytes)} of training examples on each device"


def list_memory(found: CompiledRun) -> Iterator[str]:
    """Yields the memory on each device during each step."""
    yield f"{'on a device':<18}{'compiling':>12}{'arguments':>16}{'scratch':>16}{'peak':>16}"
    for phase, (seconds, *sizes, _) in found.phases.items():
        yield f"{phase:<18}{seconds:>10.1f} s" + "".join(f"{format_bytes(size):>16}" for size in sizes)


def list_loops(phase: str, program: Program) -> Iterator[str]:
    """Yields operations and cycles of one iteration of each loop, and their sums over the step; GPUs have no cycles."""
    yield f"{'loops of ' + phase:<40}{'iterations':>11}{'operations':>11}{'cycles':>14}"
    for loop in program.loops:
        indent = "  " * loop.depth
        yield f"{indent + loop.name:<40}{loop.iterations:>11,}{loop.operations:>11,}{format_cycles(loop.cycles):>14}"
        if loop.in_hbm and loop.cycles:
            yield f"{indent}  {len(loop.in_hbm)} states or weights in HBM, such as [{loop.in_hbm[0]}]"
        if loop.collectives:
            yield f"{indent}  {loop.collectives} exchanges with other devices"
    if program.kernels:
        yield f"{'Pallas kernels, of unknown cycles':<51}{program.kernels:>11,}{'-':>14}"
    yield f"{'the step, with all iterations':<51}{program.operations:>11,}{format_cycles(program.cycles):>14}"


def format_cycles(cycles: int) -> str:
    return f"{cycles:,}" if cycles else "-"
