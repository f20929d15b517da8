"""Compiles the training steps before a run begins, and refuses a run that does not fit into memory."""

import dataclasses
import math
import platform
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from aux_rnn.config.fields import ConfigError, reject
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.system.memory import available_bytes
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import shard
from aux_rnn.training.steps import RawBatch, Steps, create_train_state

SIZES = ("embedding_size", "hidden_size", "head_sizes", "decoder_sizes", "decoder_head_sizes", "transformer_size")


@dataclasses.dataclass(frozen=True)
class CompiledPhase:
    """The seconds that compiling a training step took, and its `working_bytes`; 0 where XLA does not report them."""

    seconds: float
    step_bytes: int


def compile_steps(
    config: Config,
    spec: SequenceSpec,
    plan: Plan,
    steps: Steps,
    batch: RawBatch,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, CompiledPhase]:
    """Compiles the training steps of the phases that the plan has, 'pretrain' and 'train'.

    All processes of a run call this together, each with one of its batches. Raises ConfigError if the training state or
    a step needs more memory than is available, and ProcessError if it does in another process.
    """
    shapes = jax.eval_shape(partial(create_train_state, config, spec, plan))
    state_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    require_memory(state_bytes, largest_size(config), "the parameters and the optimizer need", processes)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)  # several processes need arrays
    counts = {"pretrain": plan.pretrain_steps, "train": plan.train_steps}
    phases = {name: compile_phase(steps, name, state, batch) for name, count in counts.items() if count}
    step_bytes = state_bytes + max((phase.step_bytes for phase in phases.values()), default=0)
    require_memory(step_bytes, ("batch_size", config.run.batch_size), "a training step needs", processes)
    return phases


def compile_phase(steps: Steps, name: str, state: Any, batch: RawBatch) -> CompiledPhase:
    """Compiles one step for a state and a batch of this process."""
    begin = time.monotonic()
    memory = getattr(steps, name).compile(state, shard(batch)).memory_analysis()
    return CompiledPhase(time.monotonic() - begin, working_bytes(memory) if memory else 0)


def working_bytes(memory: Any) -> int:
    """Returns the bytes on a device for results and intermediate values, by `memory_analysis()` of a program."""
    return memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def largest_size(config: Config) -> tuple[str, Any]:
    """Returns the name and value of the largest size of a layer."""
    sizes = ((name, getattr(config.model, name)) for name in SIZES)
    return max(sizes, key=lambda setting: np.max(setting[1]))


def require_memory(device_bytes: int, setting: tuple[str, Any], what: str, processes: ProcessGroup) -> None:
    """Raises ConfigError, naming a setting, if all local devices together need more memory than is available.

    Processes on one machine share its memory where the devices are CPUs.
    """
    host = platform.node() if jax.default_backend() == "cpu" else f"{processes.index}"
    needed = processes.all_gather([host, device_bytes * jax.local_device_count()])
    here = sum(size for name, size in needed if name == host)

    def check() -> None:
        available = available_bytes()
        if available is not None and here > available:
            gib = f"{what} {here / 2**30:,.1f} GiB and {available / 2**30:,.1f} GiB are available"
            raise too_large(*setting, gib)

    processes.run_on_all(check)


def too_large(name: str, value: Any, reason: str) -> ConfigError:
    remedy = "smaller, or the sequences or truncation lengths shorter" if name == "batch_size" else "smaller"
    return reject(name, value, f"{remedy}: {reason}")
