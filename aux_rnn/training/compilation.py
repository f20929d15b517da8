"""Compiles the training steps before a run begins, and refuses a run that does not fit into memory."""

import dataclasses
import math
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.training.dispatch import Dispatcher
from aux_rnn.training.memory_check import require_memory
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import CompiledStep
from aux_rnn.training.steps import TrainState, create_train_state

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
    dispatcher: Dispatcher,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, CompiledPhase]:
    """Compiles the training steps of the phases that the plan has, 'pretrain' and 'train'.

    All processes of a run call this together. Raises ConfigError if the training state or
    a step needs more memory than is available, and ProcessError if it does in another process.
    """
    shapes = jax.eval_shape(partial(create_train_state, config, spec, plan))
    state_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    require_memory(state_bytes, largest_size(config), "the parameters and the optimizer need", processes)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)  # several processes need arrays
    counts = {"pretrain": plan.pretrain_steps, "train": plan.train_steps}
    arguments = dispatcher.prepare(0, 1).arguments
    phases = {
        name: compile_step(dispatcher.step_of(name), state, *arguments) for name, count in counts.items() if count
    }
    step_bytes = state_bytes + max((phase.step_bytes for phase in phases.values()), default=0)
    require_memory(step_bytes, ("batch_size", config.run.batch_size), "a training step needs", processes)
    return phases


def compile_step(step: CompiledStep, state: TrainState, *arguments: Any) -> CompiledPhase:
    """Compiles a step for a state and the other arguments of this process."""
    begin = time.monotonic()
    memory = step.compile(state, *arguments).memory_analysis()
    return CompiledPhase(time.monotonic() - begin, working_bytes(memory) if memory else 0)


def working_bytes(memory: Any) -> int:
    """Returns the bytes on a device for results and intermediate values, by `memory_analysis()` of a program."""
    return memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes


def largest_size(config: Config) -> tuple[str, Any]:
    """Returns the name and value of the largest size of a layer."""
    sizes = ((name, getattr(config.model, name)) for name in SIZES)
    return max(sizes, key=lambda setting: np.max(setting[1]))
