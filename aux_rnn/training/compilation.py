"""Compiles steps, and refuses what does not fit into the memory of the devices."""

import dataclasses
import platform
import time
from typing import Any

import jax

from aux_rnn.config.fields import setting_error
from aux_rnn.distributed import ProcessGroup
from aux_rnn.system.memory import available_bytes
from aux_rnn.training.sharding import CompiledStep
from aux_rnn.training.steps import TrainState

SMALLER_STEP = "smaller, or the sequences or truncation lengths shorter"  # what may be done about a step


@dataclasses.dataclass(frozen=True)
class CompiledPhase:
    """The seconds that compiling a training step took, and its `working_bytes`; 0 where XLA does not report them."""

    seconds: float
    step_bytes: int


def compile_step(step: CompiledStep, state: TrainState, *arguments: Any) -> CompiledPhase:
    """Compiles a step for a state and the other arguments of this process."""
    begin = time.monotonic()
    memory = step.compile(state, *arguments).memory_analysis()
    return CompiledPhase(time.monotonic() - begin, working_bytes(memory) if memory else 0)


def working_bytes(memory: Any) -> int:
    """Returns the bytes on a device for results and intermediate values, by `memory_analysis()` of a program."""
    return memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def count_bytes(tree: Any) -> int:
    """Returns the bytes of all arrays of a tree, or of arrays of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def require_memory(device_bytes: int, setting: tuple[str, object, str], what: str, processes: ProcessGroup) -> None:
    """Raises ConfigError if all local devices together need more memory than is available.

    The error names the setting, its value and the remedy. Processes on one machine share its memory where the devices
    are CPUs.
    """
    host = platform.node() if jax.default_backend() == "cpu" else f"{processes.index}"
    needed = processes.all_gather([host, device_bytes * jax.local_device_count()])
    here = sum(size for name, size in needed if name == host)

    def check() -> None:
        available = available_bytes()
        if available is not None and here > available:
            name, value, remedy = setting
            figures = f"{what} {here / 2**30:,.1f} GiB and {available / 2**30:,.1f} GiB are available"
            raise setting_error(name, value, f"{remedy}: {figures}")

    processes.run_on_all(check)
