"""Runs the steps of a recurrence over a sequence, in chunks between which no gradient flows."""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.config.fields import Truncation

GPU_UNROLL = 20  # A step of mnist.flags on an H200 took 80 ms with 1 and 50 ms with 10; 20 has fewer launches still.

PLATFORM: ContextVar[str | None] = ContextVar("PLATFORM", default=None)  # see `traced_for`

Tree = Any
# (module, state, element) -> (state, output), or the same for many elements and outputs with a leading axis of steps
StepFn = Callable[[Any, Tree, Tree], tuple[Tree, Tree]]


def tree_where(mask: jax.Array | None, chosen: Tree, other: Tree) -> Tree:
    """Selects leaves `[..., H]` of two trees by a mask `[...]` or `[..., 1]` or `[..., H]`; None selects the first."""
    if mask is None:
        return chosen
    return jax.tree.map(
        lambda a, b: jnp.where(mask.reshape(*mask.shape, *[1] * (a.ndim - mask.ndim)), a, b), chosen, other
    )


@contextlib.contextmanager
def traced_for(platform: str | None) -> Iterator[None]:
    """Traces loops for devices of a platform that JAX need not have, such as 'gpu'; None takes JAX's own."""
    token = PLATFORM.set(platform)
    try:
        yield
    finally:
        PLATFORM.reset(token)


def target_platform() -> str:
    """Returns the platform that is traced for, such as 'tpu'."""
    return PLATFORM.get() or jax.default_backend()


def steps_per_iteration() -> int:
    """Returns how many steps an iteration of a compiled loop runs: several on GPUs, which start kernels slowly."""
    return GPU_UNROLL if target_platform() == "gpu" else 1


def scan_steps(step: StepFn, module: Any, state: Tree, elements: Tree, unroll: int | None = None) -> tuple[Tree, Tree]:
    """Runs `step` over the leading axis of `elements`, with the same parameters in every step.

    Args:
      step: `(module, state, element) -> (state, output)`.
      module: a bound flax module, whose steps `nn.scan` runs, or any tree of parameters, for `jax.lax.scan`.
      state: the state before the first step.
      elements: tree of arrays `[steps, ...]`.
      unroll: steps per iteration of the compiled loop; None takes `steps_per_iteration`.

    Returns:
      The state after the last step and the outputs `[steps, ...]`.
    """
    unroll = unroll or steps_per_iteration()
    if not isinstance(module, nn.Module):
        return jax.lax.scan(lambda state, element: step(module, state, element), state, elements, unroll=unroll)
    scan = nn.scan(
        step,
        variable_broadcast="params",
        split_rngs={"params": False, "dropconnect": False},
        unroll=unroll,
    )
    return scan(module, state, elements)


def truncated_scan(
    step: StepFn, module: Any, state: Tree, elements: Tree, chunk_length: Truncation
) -> tuple[Tree, Tree]:
    """Runs `scan_steps` in chunks and stops the gradient of the state between them. See `truncated_run`."""
    return truncated_run(partial(scan_steps, step), module, state, elements, chunk_length)


def truncated_run(run: StepFn, module: Any, state: Tree, elements: Tree, chunk_length: Truncation) -> tuple[Tree, Tree]:
    """Runs chunk by chunk and stops the gradient of the state at the start of every chunk after the first.

    The last chunk is shorter where `chunk_length` does not divide the number of steps.

    Args:
      run: `(module, state, elements) -> (state, outputs)`, which runs all steps of a chunk.
      module: as in `scan_steps`.
      state: the state before the first step; the gradient of the first chunk flows into it.
      elements: tree of arrays `[steps, ...]`.
      chunk_length: steps per chunk, or 'full' for a single chunk.

    Returns:
      The state after the last step and the outputs `[steps, ...]`.
    """
    steps = jax.tree.leaves(elements)[0].shape[0]
    if chunk_length == "full" or chunk_length >= steps:
        return run(module, state, elements)
    whole, rest = split_chunks(elements, chunk_length)

    def run_chunk(module: Any, state: Tree, chunk: tuple[jax.Array, Tree]) -> tuple[Tree, Tree]:
        is_first, chunk_elements = chunk
        state = jax.tree.map(lambda s: jnp.where(is_first, s, jax.lax.stop_gradient(s)), state)
        return run(module, state, chunk_elements)

    is_first = jnp.arange(steps // chunk_length) == 0
    state, outputs = scan_steps(run_chunk, module, state, (is_first, whole), unroll=1)
    last = None
    if rest is not None:
        state, last = run(module, jax.lax.stop_gradient(state), rest)
    return state, join_chunks(outputs, last)


def split_chunks(tree: Tree, length: int) -> tuple[Tree, Tree]:
    """Splits leaves `[T, ...]` into chunks `[chunks, length, ...]` and the steps after them, None if there are none."""
    chunks, rest = divmod(len(jax.tree.leaves(tree)[0]), length)
    whole = jax.tree.map(lambda x: x[: chunks * length].reshape(chunks, length, *x.shape[1:]), tree)
    return whole, jax.tree.map(lambda x: x[chunks * length :], tree) if rest else None


def join_chunks(whole: Tree, rest: Tree) -> Tree:
    """Joins what `split_chunks` has split."""
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), whole)
    return flat if rest is None else jax.tree.map(lambda a, b: jnp.concatenate([a, b]), flat, rest)
