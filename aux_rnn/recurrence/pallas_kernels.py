"""The kernels of `pallas_lstm.py`. All arrays have padded rows and units, see there."""

from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from etils import epy

from aux_rnn.recurrence.fused_lstm import State, States, lstm_step_bwd, split_and_activate
from aux_rnn.recurrence.scan import target_platform, tree_where

with epy.lazy_imports():  # they take a third of a second, and few programs use them
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu


class ForwardInputs(NamedTuple):
    """What the forward kernel reads.

    Attributes:
      input_gates: what the inputs and the bias add to the gates of the bottom layer, `[T, R, 4H]`.
      weights: of each layer, `[K, 4H]`, for the layer below and its own state; packed in the kernel.
      biases: of the layers above the bottom one, `[1, 4H]`.
      states: of each layer before the first step.
      starts: int32 `[R, 1]`, the first step in which a row advances.
      positions: int32 `[R, P]`, the numbers of steps after which `ForwardResults.found` is taken.
    """

    input_gates: Any
    weights: tuple[Any, ...]
    biases: tuple[Any, ...]
    states: States
    starts: Any
    positions: Any


class ForwardResults(NamedTuple):
    """What the forward kernel writes; parts that are not wanted are empty.

    Attributes:
      hidden: after every step, `[T, R, H]`, of the top layer or of all layers.
      gates: of each layer, activated, `[T, R, 4H]`.
      cells: of each layer before every step, `[T, R, H]`.
      states: of each layer after the last step.
      found: the states of the bottom layer at the positions, leaves `[P * R, H]`.
    """

    hidden: tuple[Any, ...]
    gates: tuple[Any, ...]
    cells: tuple[Any, ...]
    states: States
    found: tuple[Any, ...]


class BackwardInputs(NamedTuple):
    """What the backward kernel reads; `gates` and `cells` are those of `ForwardResults`.

    Attributes:
      d_outputs: the gradient of the top layer's hidden state after every step, `[T, R, H]`, perhaps that of its cell.
      starts: see `ForwardInputs`.
      weights: of each layer, transposed, `[4H, K]`; packed in the kernel.
      d_states: the gradients of the states after the last step.
    """

    gates: tuple[Any, ...]
    cells: tuple[Any, ...]
    d_outputs: tuple[Any, ...]
    starts: Any
    weights: tuple[Any, ...]
    d_states: States


class BackwardResults(NamedTuple):
    """The gradients of the gates before their activation, `[T, R, 4H]` per layer, and of the first states."""

    d_gates: tuple[Any, ...]
    d_states: States


def run_kernel(kernel: Any, read: Any, results: Any, block: int, parts: int) -> Any:
    """Runs a kernel on one block of steps after another, the backward kernel from the last block to the first.

    Args:
      kernel: `forward_kernel` or `backward_kernel`, reads and writes trees of references.
      read: its inputs. Arrays with three axes are divided into blocks.
      results: shapes of its results, divided in the same way.
      block: steps per block.
      parts: number of bfloat16 matrices that represent a float32 matrix.
    """
    total = len(jax.tree.leaves(read)[0])
    blocks, is_backward = pl.cdiv(total, block), kernel is backward_kernel

    def specify(array: Any, **options: Any) -> pl.BlockSpec:
        if array.ndim == 3:
            return pl.BlockSpec((block, *array.shape[1:]), lambda i: (blocks - 1 - i if is_backward else i, 0, 0))
        return pl.BlockSpec(array.shape, lambda i: (0, 0), **options)

    read = read._replace(weights=tuple(pack_weights(w, parts) for w in read.weights))
    (written,) = pl.pallas_call(
        partial(kernel, total=total),
        grid=(blocks,),
        in_specs=[jax.tree.map(partial(specify, pipeline_mode=pl.Buffered(1)), read)],
        out_specs=[jax.tree.map(specify, results)],
        out_shape=[results],
        input_output_aliases={layer: layer for layer in range(len(read.weights))} if is_backward else {},
        interpret=target_platform() != "tpu",
        name=kernel.__name__,
    )(read)
    return written


def pack_weights(weights: jax.Array, parts: int) -> jax.Array:
    """Splits float32 weights `[K, N]` into a sum of bfloat16 matrices, two rows per word: uint32 `[parts * K / 2, N]`.

    Without the words, the rows of one register would be stored in two places and loaded in two operations.
    """
    rounded = []
    for _ in range(parts):
        part = jax.lax.reduce_precision(weights, exponent_bits=8, mantissa_bits=7)  # a cast might be optimized away
        rounded.append(part.astype(jnp.bfloat16))
        weights = weights - part
    pairs = jnp.concatenate(rounded).reshape(-1, 2, weights.shape[1])
    return jax.lax.bitcast_convert_type(jnp.swapaxes(pairs, 1, 2), jnp.uint32)


def packed_matmul(x: jax.Array, weights: Any) -> jax.Array:
    """Multiplies float32 `[R, K]` by packed weights, without the smallest three of nine products of parts."""
    (rows, size), parts = x.shape, []
    count = 2 * len(weights) // size
    for _ in range(count):
        parts.append(x.astype(jnp.bfloat16))
        x = x - parts[-1].astype(jnp.float32)
    terms = []
    for k in reversed(range(count)):  # from small to large
        stacked = jnp.concatenate(parts[: count - k]) if k < count - 1 else parts[0]
        factor = pltpu.bitcast(weights[k * size // 2 : (k + 1) * size // 2], jnp.bfloat16)
        products = jnp.dot(stacked, factor, precision=jax.lax.Precision.DEFAULT, preferred_element_type=jnp.float32)
        terms += [products[j * rows : (j + 1) * rows] for j in reversed(range(count - k))]
    return reduce(jnp.add, terms)


def forward_kernel(read: ForwardInputs, written: ForwardResults, *, total: int) -> None:
    """Runs the steps of one block through all layers; `written.states` holds the states from block to block."""
    block = len(read.input_gates)
    first = pl.program_id(0) * block
    starts, positions = read.starts[...], read.positions[...]

    @pl.when(first == 0)
    def start() -> None:
        jax.tree.map(write, written.states, load(read.states))
        jax.tree.map(lambda ref: write(ref, jnp.zeros(ref.shape, ref.dtype)), written.found)

    def run_step(k: jax.Array, states: States) -> States:
        is_valid = (starts <= first + k) & (first + k < total)
        new_states: list[State] = []
        for layer, (c, h) in enumerate(states):
            added = read.biases[layer - 1][...] if layer else read.input_gates[k]
            joined = jnp.concatenate([new_states[-1][1], h], axis=-1) if layer else h
            i, f, g, o = gates = split_and_activate(added + packed_matmul(joined, read.weights[layer]))
            if written.gates:
                written.gates[layer][k] = jnp.concatenate(gates, axis=-1)
                written.cells[layer][k] = c
            new_c = f * c + i * g
            new_states.append(tree_where(is_valid, (new_c, o * jnp.tanh(new_c)), (c, h)))
        for hidden, (_, h) in zip(written.hidden, new_states[len(states) - len(written.hidden) :], strict=True):
            hidden[k] = h
        for found, state in zip(written.found, new_states[0], strict=False):
            for p in range(positions.shape[1]):
                rows = pl.ds(p * len(state), len(state))
                found[rows] = jnp.where(positions[:, p : p + 1] == first + k + 1, state, found[rows])
        return tuple(new_states)

    jax.tree.map(write, written.states, jax.lax.fori_loop(0, block, run_step, load(written.states)))


def backward_kernel(read: BackwardInputs, written: BackwardResults, *, total: int) -> None:
    """Backpropagates through the steps of one block, from the last step to the first."""
    block = len(read.gates[0])
    first = (pl.num_programs(0) - 1 - pl.program_id(0)) * block
    starts = read.starts[...]

    @pl.when(pl.program_id(0) == 0)
    def start() -> None:
        jax.tree.map(write, written.d_states, load(read.d_states))

    def run_step(number: jax.Array, d_states: States) -> States:
        k = block - 1 - number
        in_range = first + k < total  # the last block may reach further
        is_valid = (starts <= first + k) & in_range
        d_hidden, *d_cell = (jnp.where(in_range, ref[k], 0) for ref in read.d_outputs)
        new_d_states: list[State] = []
        for layer in reversed(range(len(d_states))):
            d_c, d_h = sum(d_cell, d_states[layer][0]), d_states[layer][1] + d_hidden
            i, f, g, o = jnp.split(read.gates[layer][k], 4, axis=-1)
            c_before = read.cells[layer][k]
            new_d_c, d_gates = lstm_step_bwd((i, f, g, o), c_before, f * c_before + i * g, (d_c, d_h))
            d_gates = jnp.where(is_valid, d_gates, 0)
            written.d_gates[layer][k] = d_gates
            d_read = packed_matmul(d_gates, read.weights[layer])
            size = d_h.shape[1]
            d_hidden, d_cell = d_read[:, :-size], []
            new_d_states.append(tree_where(is_valid, (new_d_c, d_read[:, -size:]), (d_c, d_h)))
        return tuple(reversed(new_d_states))

    jax.tree.map(write, written.d_states, jax.lax.fori_loop(0, block, run_step, load(written.d_states)))


def load(refs: Any) -> Any:
    return jax.tree.map(lambda ref: ref[...], refs)


def write(ref: Any, value: jax.Array) -> None:
    ref[...] = value
