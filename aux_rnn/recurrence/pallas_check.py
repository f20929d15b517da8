"""Checks the kernels of `pallas_lstm.py` on the device: whether they can run there and agree with a scan."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.errors import first_line
from aux_rnn.recurrence.fused_lstm import LSTMParams, StepInputs, scan_lstm
from aux_rnn.recurrence.pallas_lstm import count_parts, run_pallas_lstm, warn
from aux_rnn.recurrence.precision import MatMul, highest_precision

TOLERANCES = {1: 2e-2, 3: 1e-4}  # of a gradient's size, by the number of bfloat16 parts of a factor


@cache
def agrees_with_scan(matmul: MatMul) -> bool:
    """Returns whether the kernels compute the values and gradients of a scan on this device, for a small problem.

    If not, or if they cannot be compiled, a warning says so.
    """
    try:
        error = measure_error(matmul)
    except Exception as problem:  # of the compiler or the device, which the loops may not have
        warn(f"the kernels of --recurrence=pallas cannot be run on this device ({first_line(problem)})")
        return False
    if not error < TOLERANCES[count_parts(matmul)]:
        warn(f"the kernels of --recurrence=pallas differ from a scan by {error:.1e} on this device")
    return error < TOLERANCES[count_parts(matmul)]


def measure_error(matmul: MatMul) -> float:
    """Returns the largest relative difference between kernels and scan, of a state or a gradient of two layers."""
    rows, steps, size = 16, 20, 128
    random = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return random.normal(size=shape).astype(np.float32)

    layers = tuple(
        LSTMParams(draw(below, 4 * size) / below**0.5, draw(size, 4 * size) / size**0.5, draw(4 * size))
        for below in (3, size)
    )
    arguments = layers, tuple((draw(rows, size), draw(rows, size)) for _ in layers), draw(steps, rows, 3)
    mask: Any = np.arange(steps)[:, None, None] >= np.arange(rows)[:, None]

    def differentiate(run: Callable[..., Any], *arguments: Any) -> Any:
        """Returns the states after the last step and the gradients of a loss of all hidden states."""

        def loss(params: Any, states: Any, elements: jax.Array) -> Any:
            final, (_, hidden) = run(params, states, StepInputs(elements, mask), matmul=matmul)
            return sum(jnp.vdot(x, jnp.cos(x)) for x in jax.tree.leaves((final, hidden))), final

        return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(*arguments)

    def compare(*arguments: Any) -> jax.Array:
        actual, expected = (differentiate(run, *arguments) for run in (run_pallas_lstm, scan_lstm))
        errors = jax.tree.map(lambda a, e: jnp.linalg.norm(a - e) / jnp.linalg.norm(e), actual, expected)
        return jnp.max(jnp.stack(jax.tree.leaves(errors)))

    # Compiled ahead of time, because a step may be traced at the moment.
    return float(jax.jit(highest_precision(compare)).lower(*arguments).compile()(*arguments))
