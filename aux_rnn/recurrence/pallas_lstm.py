r"""Runs LSTM layers over many steps in one Pallas kernel per direction, for TPUs: `fused_lstm.run_lstm`, but faster.

An iteration of a compiled loop starts 5 to 17 operations on a TPU. Here one kernel runs all steps of all layers: the
weights and the states stay in VMEM, the memory on the chip, and the other arrays are read and written in blocks.

* The gates of the inputs are computed before the kernel, in one product for all steps. Pixels and tokens differ there.
* The residuals are the activated gates, the cell before and the hidden state after every step.
* The backward kernel writes the gradients of the gates in place of the gates. The gradients of the weights are one
  product of these and the hidden states, over all steps.
* A float32 matrix is the sum of three bfloat16 matrices. Six of the nine products between the parts of two factors are
  computed, as in `jax.lax.Precision.HIGHEST`, and every part of the weights is loaded once per step.

Rows are padded to multiples of 16 and units to multiples of 128, the sizes of a register. On other devices than TPUs
the kernels are interpreted, which is slow and meant for tests. `agrees_with_scan` checks them on the device.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from aux_rnn.errors import first_line
from aux_rnn.recurrence import pallas_kernels as kernels
from aux_rnn.recurrence.fused_lstm import (
    Layers,
    LSTMParams,
    State,
    States,
    StepInputs,
    input_gates,
    is_tokens,
    run_lstm,
    scan_lstm,
)
from aux_rnn.recurrence.precision import MatMul, bfloat16_matmul, highest_precision, standard_promotion

ROWS, UNITS = 16, 128  # a register holds 16 rows of 128 bfloat16 units
VMEM_BYTES = 12 * 2**20  # of the 16 MiB for a kernel on all generations; the compiler needs the rest
MAX_STEPS = 16  # per block
FEW_CHANNELS = 8  # half the cost of the matrix product
TOLERANCES = {1: 2e-2, 3: 1e-4}  # of a gradient's size, by the number of bfloat16 parts of a factor


def steps_per_block(rows: int, sizes: Sequence[int], matmul: MatMul) -> int:
    """Returns how many steps of the arrays fit into VMEM together with the weights; 0 if the layers are too large.

    Args:
      rows: R.
      sizes: H of each layer.
      matmul: the matrix product, which decides how many parts the weights have.
    """
    rows, sizes = -(-rows // ROWS) * ROWS, [-(-size // UNITS) * UNITS for size in sizes]
    weights = sum(4 * size * (below + size) for below, size in zip([0, *sizes], sizes, strict=False))
    resident = 2 * count_parts(matmul) * weights + 4 * rows * 6 * sum(sizes)  # states are buffered twice if written
    forward, backward = 4 * sizes[0] + 6 * sum(sizes), 9 * sum(sizes) + 2 * sizes[-1]
    streamed = 2 * 4 * rows * max(forward, backward)  # one block is computed while others are copied
    fitting = max(VMEM_BYTES - resident, 0) // streamed
    return min(MAX_STEPS, 1 << fitting.bit_length() >> 1)


def is_supported(params: Layers, rows: int, matmul: MatMul) -> bool:
    """Returns whether the kernels can run these layers; if not, a warning says so once."""
    sizes = tuple(len(layer.recurrent) for layer in params)
    if params[0].recurrent.dtype != jnp.float32:
        warn(f"the kernels of recurrence=pallas compute float32, not {params[0].recurrent.dtype}")
        return False
    if not steps_per_block(rows, sizes, matmul):
        units = " and ".join(map(str, sizes))
        warn(f"{rows} rows of {units} units are too large for the kernels of recurrence=pallas")
        return False
    return True


@cache
def warn(reason: str) -> None:
    logging.warning("%s; compiled loops are used instead", reason)


def count_parts(matmul: MatMul) -> int:
    """Returns how many bfloat16 matrices represent a factor."""
    return 1 if matmul is bfloat16_matmul else 3


def run_pallas_lstm(
    params: Layers, states: States, inputs: StepInputs, return_cells: bool = False, matmul: MatMul = jnp.matmul
) -> tuple[States, tuple[jax.Array | None, jax.Array]]:
    """Computes `run_lstm`, in kernels if they support it; the mask may be false in the first steps of a row only."""
    rows, sizes = inputs.elements.shape[1], [len(layer.recurrent) for layer in params]
    if not is_supported(params, rows, matmul):
        return run_lstm(params, states, inputs, return_cells, matmul)
    read = prepare(params, states, inputs, matmul)
    options = return_cells, matmul, steps_per_block(rows, sizes, matmul)
    final, (cells, hidden) = run_padded(*options, read)
    final = tuple((c[:rows, :size], h[:rows, :size]) for (c, h), size in zip(final, sizes, strict=True))
    return final, jax.tree.map(lambda s: s[:, :rows, : sizes[-1]], (cells, hidden))


def find_states(params: LSTMParams, inputs: StepInputs, positions: jax.Array, matmul: MatMul) -> State:
    """Runs one layer from zero, without gradients, and returns its states after `positions` steps, leaves `[R, P, H]`.

    Args:
      params: of the layer.
      inputs: the mask may be false in the first steps of a row only.
      positions: int32 `[R, P]`, from 0 to the number of steps.
      matmul: the matrix product.
    """
    (rows, count), size = positions.shape, len(params.recurrent)
    zeros = jnp.zeros((rows, size), jnp.float32)
    read = prepare((params,), ((zeros, zeros),), inputs, matmul)
    read = read._replace(positions=pad(positions, 0, ROWS))
    padded_rows, padded_size = read.states[0][0].shape
    found = jax.ShapeDtypeStruct((count * padded_rows, padded_size), jnp.float32)
    results = kernels.ForwardResults((), (), (), like(read.states), (found, found))
    block = steps_per_block(rows, [size], matmul)
    c, h = kernels.run_kernel(kernels.forward_kernel, read, results, block, count_parts(matmul)).found
    by_row = [jnp.swapaxes(s.reshape(count, padded_rows, padded_size), 0, 1)[:rows, :, :size] for s in (c, h)]
    return by_row[0], by_row[1]


def prepare(params: Layers, states: States, inputs: StepInputs, matmul: MatMul) -> kernels.ForwardInputs:
    """Converts the arguments of `run_lstm`. Zeros are added, so that the states of added units remain zero."""
    elements, mask = inputs
    steps, rows = elements.shape[:2]
    bottom, *upper = params
    starts = jnp.zeros((rows, 1), jnp.int32) if mask is None else steps - mask.sum(0, dtype=jnp.int32)
    starts = pad(starts, 0, ROWS)
    return kernels.ForwardInputs(
        pad(pad_gates(read_inputs(bottom.kernel, elements, matmul) + bottom.bias), 1, ROWS),
        (pad_matrix(bottom.recurrent), *(jnp.concatenate([*map(pad_matrix, layer[:2])]) for layer in upper)),
        tuple(pad_gates(layer.bias)[None] for layer in upper),
        jax.tree.map(lambda s: pad(pad(s, 0, ROWS), 1, UNITS), states),
        starts,
        starts,  # in place of positions, which only `find_states` has
    )


def read_inputs(kernel: jax.Array, elements: jax.Array, matmul: MatMul) -> jax.Array:
    """Computes `input_gates`, in float32 without a matrix product, whose six passes cost more for few channels."""
    channels = 0 if is_tokens(elements) else elements.shape[-1]
    if count_parts(matmul) == 3 and 0 < channels <= FEW_CHANNELS:
        return reduce(jnp.add, [elements[..., k : k + 1] * kernel[k] for k in range(channels)])
    return input_gates(kernel, elements, matmul)


def pad(array: jax.Array, axis: int, multiple: int) -> jax.Array:
    """Adds zeros at the end of an axis."""
    missing = -array.shape[axis] % multiple
    return jnp.pad(array, [(0, missing * (k == axis)) for k in range(array.ndim)])


def pad_gates(array: jax.Array) -> jax.Array:
    """Pads the units of each gate, `[..., 4H]`."""
    gates = array.reshape(*array.shape[:-1], 4, -1)
    return pad(gates, gates.ndim - 1, UNITS).reshape(*array.shape[:-1], -1)


def pad_matrix(weights: jax.Array) -> jax.Array:
    """Pads the units that are read and those of the gates, `[K, 4H]`."""
    return pad(pad_gates(weights), 0, UNITS)


def like(tree: States | tuple[jax.Array, ...]) -> tuple:
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), tree)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def run_padded(return_cells, matmul, block, read):
    return run_padded_fwd(return_cells, matmul, block, read, keep_residuals=return_cells)[0]


def run_padded_fwd(return_cells, matmul, block, read, keep_residuals=True):
    """Runs all steps; returns the results of `run_lstm` and the residuals."""
    steps, rows, _ = read.input_gates.shape
    by_step, gates = (
        tuple(jax.ShapeDtypeStruct((steps, rows, k * c.shape[1]), jnp.float32) for c, _ in read.states) for k in (1, 4)
    )
    kept = (by_step, gates, by_step) if keep_residuals else (by_step[-1:], (), ())
    results = kernels.ForwardResults(*kept, like(read.states), ())
    written = kernels.run_kernel(kernels.forward_kernel, read, results, block, count_parts(matmul))
    cells = jnp.concatenate([written.cells[-1][1:], written.states[-1][0][None]]) if return_cells else None
    residuals = read._replace(input_gates=None, biases=None), written._replace(states=None)
    return (written.states, (cells, written.hidden[-1])), residuals


@standard_promotion()
def run_padded_bwd(return_cells, matmul, block, residuals, cotangents):
    """Computes the gradient of `run_padded`: that of the gates in the kernel, that of the weights after it."""
    read, kept = residuals
    d_states, (d_cells, d_hidden) = cotangents
    d_outputs = (d_hidden, d_cells) if return_cells else (d_hidden,)
    transposed = tuple(w.T for w in read.weights)
    inputs = kernels.BackwardInputs(kept.gates, kept.cells, d_outputs, read.starts, transposed, d_states)
    results = kernels.BackwardResults(like(kept.gates), like(d_states))
    d_gates, d_states = kernels.run_kernel(kernels.backward_kernel, inputs, results, block, count_parts(matmul))
    d_weights = []
    for layer, d in enumerate(d_gates):
        before = jnp.concatenate([read.states[layer][1][None], kept.hidden[layer][:-1]])
        sources = [*kept.hidden[max(layer - 1, 0) : layer], before]
        # Without the barrier, XLA may take the steps for the window of a convolution, which compiles for many minutes.
        d, *sources = jax.lax.optimization_barrier([x.reshape(-1, x.shape[-1]) for x in (d, *sources)])
        d_weights.append(jnp.concatenate([matmul(x.T, d) for x in sources]))
    d_biases = tuple(d.sum((0, 1))[None] for d in d_gates[1:])
    return (kernels.ForwardInputs(d_gates[0], tuple(d_weights), d_biases, d_states, None, None),)


run_padded.defvjp(run_padded_fwd, run_padded_bwd)


@cache
def agrees_with_scan(matmul: MatMul) -> bool:
    """Returns whether the kernels compute the values and gradients of a scan on this device, for a small problem.

    If not, or if they cannot be compiled, a warning says so.
    """
    try:
        error = measure_error(matmul)
    except Exception as problem:  # of the compiler or the device, which the loops may not have
        warn(f"the kernels of recurrence=pallas cannot be run on this device ({first_line(problem)})")
        return False
    if not error < TOLERANCES[count_parts(matmul)]:
        warn(f"the kernels of recurrence=pallas differ from a scan by {error:.1e} on this device")
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
    if not is_supported(layers, rows, matmul):
        raise ValueError("loops would be compared with loops")
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
