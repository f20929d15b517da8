"""Steps of a recurrence over a sequence, in chunks between which no gradient goes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aux_rnn.settings import Truncation

Tree = Any
Step = Callable[[Any, Tree, Tree], tuple[Tree, Tree]]  # (module, state, element) -> (state, output)
Run = Step  # The same over many steps: (module, state, elements) -> (state, outputs), by leading axes.


def cut(tree: Tree) -> Tree:
    """The same values, through which no gradient goes."""
    return jax.tree.map(jax.lax.stop_gradient, tree)


def select(condition: jax.Array, chosen: Tree, other: Tree) -> Tree:
    """`chosen` where the condition holds, by leading axes: the condition is `[...]`, the leaves are `[..., H]`."""

    def pick(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(condition.shape + (1,) * (a.ndim - condition.ndim)), a, b)

    return jax.tree.map(pick, chosen, other)


def scan_steps(step: Step, module: Any, state: Tree, elements: Tree) -> tuple[Tree, Tree]:
    """Runs `step` over the leading axis of `elements`, sharing the parameters between the steps.

    They are a module's, or `module` is a tree of them.
    """
    if not isinstance(module, nn.Module):
        return jax.lax.scan(lambda state, element: step(module, state, element), state, elements)
    scan = nn.scan(step, variable_broadcast="params", split_rngs={"params": False, "dropconnect": False})
    return scan(module, state, elements)


def scan_chunks(
    step: Step, module: nn.Module, state: Tree, elements: Tree, chunk_length: Truncation
) -> tuple[Tree, Tree]:
    """`scan_steps` in chunks, between which no gradient goes (see `run_chunks`)."""
    return run_chunks(partial(scan_steps, step), module, state, elements, chunk_length)


def run_chunks(run: Run, module: Any, state: Tree, elements: Tree, chunk_length: Truncation) -> tuple[Tree, Tree]:
    """Runs chunk after chunk, cutting the gradient of the state at the start of every chunk after the first.

    The last chunk is shorter where `chunk_length` does not divide the number of steps.

    Args:
      run: `run(module, state, elements) -> (state, outputs)`, takes the steps of one chunk.
      module: the bound module whose parameters `run` uses, or a tree of parameters.
      state: the state before the first step; the first chunk's gradient goes on into it.
      elements: tree of arrays `[steps, ...]`.
      chunk_length: steps a chunk, or 'full' for no cut.

    Returns:
      The state after the last step and the outputs `[steps, ...]`.
    """
    steps = jax.tree.leaves(elements)[0].shape[0]
    if chunk_length == "full" or chunk_length >= steps:
        return run(module, state, elements)
    chunks, rest = divmod(steps, chunk_length)

    def run_chunk(module: Any, state: Tree, chunk: tuple[jax.Array, Tree]) -> tuple[Tree, Tree]:
        is_first, chunk_elements = chunk
        state = jax.tree.map(lambda s: jnp.where(is_first, s, jax.lax.stop_gradient(s)), state)
        return run(module, state, chunk_elements)

    whole = jax.tree.map(lambda e: e[: steps - rest].reshape(chunks, chunk_length, *e.shape[1:]), elements)
    state, outputs = scan_steps(run_chunk, module, state, (jnp.arange(chunks) == 0, whole))
    outputs = jax.tree.map(lambda o: o.reshape(chunks * chunk_length, *o.shape[2:]), outputs)
    if rest:
        tail = jax.tree.map(lambda e: e[steps - rest :], elements)
        state, last = run(module, cut(state), tail)
        outputs = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), outputs, last)
    return state, outputs
