r"""LSTM layers over many steps with their gradient written by hand: the same function as a scan of `LSTMCell`s, faster.

What makes it so:

* The embedding is folded into the bottom layer: `(x E + e) W + b` is one small matrix for pixels, one table for tokens.
* All layers take a step together, in one loop; nothing of a layer is written out for the one above.
* Kept for the backward pass are the gates, and the states at the start of every chunk of steps: those in between follow
  from the gates without a matrix product, while the gates would need them all again.
* The gradients of the matrices are one product a chunk, where automatic differentiation adds one up every step.

A step of one layer with its gates side by side, `i, f, g, o`:

.. math::
    z = x W + h U + b, \quad c' = \sigma(z_f) c + \sigma(z_i) \tanh(z_g), \quad h' = \sigma(z_o) \tanh(c')
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.struct import PyTreeNode, field

from aux_rnn.precision import MatMul

CHUNK = 10  # steps: small enough for what a chunk works on to stay in a core's cache

State = tuple[jax.Array, jax.Array]  # c and h, each [R, H]
Gates = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # i, f, g and o, activated, each [R, H]


class Layer(NamedTuple):
    """The parameters of one LSTM layer, or their gradients.

    Attributes:
      kernel: `W`, `[C, 4H]`; for tokens a table, `[vocabulary_size, 4H]`.
      recurrent: `U`, `[H, 4H]`.
      bias: `b`, `[4H]`.
    """

    kernel: jax.Array
    recurrent: jax.Array
    bias: jax.Array


class FoldedEncoder(PyTreeNode):
    """An encoder `(state, element) -> state` without a module around it (see `windows.py`)."""

    layer: Layer
    matmul: MatMul = field(pytree_node=False, default=jnp.matmul)

    def __call__(self, state: State, element: jax.Array) -> State:
        return advance(self.layer, state, element, self.matmul)[0]

    def initial_state(self, batch: int) -> State:
        zeros = jnp.zeros((batch, len(self.layer.recurrent)), self.layer.recurrent.dtype)
        return zeros, zeros


def as_layer(cell: Mapping[str, jax.Array]) -> Layer:
    """The parameters of an `LSTMCell`."""
    return Layer(cell["input_kernel"], cell["recurrent_kernel"], cell["bias"])


def fold(cell: Mapping[str, jax.Array], embedding: Mapping[str, Any]) -> Layer:
    """An `LSTMCell` and the `Embedding` before it as one: `(x E + e) W + b = x (E W) + (e W + b)`."""
    recurrent, bias = cell["recurrent_kernel"], cell["bias"]
    if "table" in embedding:
        return Layer(embedding["table"]["embedding"] @ cell["input_kernel"], recurrent, bias)
    linear = embedding["linear"]
    return Layer(linear["kernel"] @ cell["input_kernel"], recurrent, linear["bias"] @ cell["input_kernel"] + bias)


def sigmoid(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def activate(z: jax.Array) -> Gates:
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)


def project(kernel: jax.Array, inputs: jax.Array, matmul: MatMul) -> jax.Array:
    """What inputs `[..., C]`, or tokens `[...]`, add to the gates, `[..., 4H]`."""
    return kernel[inputs] if jnp.issubdtype(inputs.dtype, jnp.integer) else matmul(inputs, kernel)


def advance(layer: Layer, state: State, inputs: jax.Array, matmul: MatMul) -> tuple[State, Gates]:
    """One step of one layer on `[R, C]` or tokens `[R]`."""
    c, h = state
    i, f, g, o = activate(project(layer.kernel, inputs, matmul) + matmul(h, layer.recurrent) + layer.bias)
    c = f * c + i * g
    return (c, o * jnp.tanh(c)), (i, f, g, o)


def hold(active: jax.Array | None, new: Any, old: Any) -> Any:
    """The new arrays `[R, ...]` in the rows that are active, bool `[R]`; in all where `active` is None."""
    if active is None:
        return new
    return jax.tree.map(lambda n, o: jnp.where(active[:, None], n, o), new, old)


def run_forward(
    layers: Sequence[Layer],
    states: Sequence[State],
    inputs: jax.Array,
    active: jax.Array | None,
    with_cells: bool,
    matmul: MatMul,
    with_gates: bool,
) -> tuple[Any, Any, Any]:
    """`run_lstm`; also all gates, if asked for, and the states before every chunk, leaves `[chunks + 1, R, H]`."""
    steps = len(inputs)

    def step(carry, xs):
        states, starts = carry
        number, below, is_active = xs
        new, gates = [], []
        for layer, state in zip(layers, states, strict=True):
            advanced, activated = advance(layer, state, below, matmul)
            new.append(hold(is_active, advanced, state))
            gates.append(activated)
            below = new[-1][1]
        if with_gates:
            # The state after a step belongs before the next chunk, but for those that later steps overwrite it with.
            put = partial(jax.lax.dynamic_update_index_in_dim, index=number // CHUNK + 1, axis=0)
            starts = jax.tree.map(put, starts, new)
        outputs = new[-1] if with_cells else (None, below)
        return (new, starts), (outputs, gates if with_gates else None)

    states, chunks = list(states), -(-steps // CHUNK)
    starts = jax.tree.map(lambda s: jnp.zeros((chunks + 1, *s.shape), s.dtype).at[0].set(s), states)
    xs = (jnp.arange(steps), inputs, active)
    (final, starts), (outputs, gates) = jax.lax.scan(step, (states, starts if with_gates else None), xs)
    return (tuple(final), outputs), gates, starts


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def run_lstm(
    layers: tuple[Layer, ...],
    states: tuple[State, ...],
    inputs: jax.Array,
    active: jax.Array | None,
    cuts: jax.Array | None,
    with_cells: bool = False,
    matmul: MatMul = jnp.matmul,
) -> tuple[tuple[State, ...], tuple[jax.Array | None, jax.Array]]:
    """Runs `T` steps.

    Args:
      layers: bottom first; each reads the hidden part of the one below.
      states: `(c, h)` of each layer before the first step, each `[R, H]`.
      inputs: `[T, R, C]`, or tokens, int `[T, R]`.
      active: bool `[T, R]`, where it is false a step holds all states; None where it never is.
      cuts: bool `[T]`, where it is true no gradient goes from a step's states back to those before; None for no cut.
      with_cells: whether the cells `c` of every step are wanted, too.
      matmul: the matrix product, see `precision.py`.

    Returns:
      The states after the last step, and `(c, h)` of the top layer after every step, `[T, R, H]`, `c` None unless asked
      for.
    """
    return run_forward(layers, states, inputs, active, with_cells, matmul, with_gates=False)[0]


def run_and_keep(layers, states, inputs, active, cuts, with_cells, matmul):
    """`run_lstm`, and what its gradient needs."""
    results, gates, starts = run_forward(layers, states, inputs, active, with_cells, matmul, with_gates=True)
    return results, (layers, inputs, active, cuts, gates, starts)


def replay(gates: Gates, start: State, active: jax.Array | None) -> tuple[State, State]:
    """The states before and after each step of a chunk, leaves `[CHUNK, R, H]`, from its gates and its first state."""

    def step(state, xs):
        (i, f, g, o), is_active = xs
        c = f * state[0] + i * g
        new = hold(is_active, (c, o * jnp.tanh(c)), state)
        return new, (state, new)

    return jax.lax.scan(step, start, (gates, active))[1]


def retreat(gates: Gates, c_before: jax.Array, c: jax.Array, d_state: State) -> tuple[jax.Array, jax.Array]:
    """The gradients of a cell `[R, H]` before a step and of its gates before activation `[R, 4H]`, from its state's."""
    (i, f, g, o), (d_c, d_h) = gates, d_state
    squashed = jnp.tanh(c)
    d_c = d_c + d_h * o * (1 - squashed * squashed)
    parts = d_c * g * i * (1 - i), d_c * c_before * f * (1 - f), d_c * i * (1 - g * g), d_h * squashed * o * (1 - o)
    return d_c * f, jnp.concatenate(parts, axis=-1)


def retreat_all(transposed: Sequence[jax.Array], sizes: Sequence[int], matmul: MatMul):
    """The step back through all layers, for a scan over a chunk from its end.

    Args:
      transposed: of each layer the matrix from its gates' gradient to that of what it read, `[4H, H]` in the bottom
        layer, `[4H, H_below + H]` above.
      sizes: `H` of each layer.
      matmul: the matrix product.
    """

    def step(d_states, xs):
        gates, before, after, is_active, is_cut, (d_cell, d_below) = xs
        passed, found = [None] * len(sizes), [None] * len(sizes)
        for k in reversed(range(len(sizes))):
            d_c, d_h = d_states[k]
            d_c = d_c if d_cell is None else d_c + d_cell
            d_state = d_c, d_h + d_below
            d_c, d_gates = retreat(gates[k], before[k][0], after[k][0], d_state)
            d_gates = hold(is_active, d_gates, jnp.zeros_like(d_gates))
            d_read = matmul(d_gates, transposed[k])
            d_below, d_cell = d_read[:, : -sizes[k]], None
            passed[k], found[k] = hold(is_active, (d_c, d_read[:, -sizes[k] :]), d_state), d_gates
        if is_cut is not None:
            passed = jax.tree.map(lambda d: jnp.where(is_cut, 0, d), passed)
        return passed, found

    return step


def add_products(total: Layer, inputs: jax.Array, hidden: jax.Array, d_gates: jax.Array, matmul: MatMul) -> Layer:
    """Adds what a chunk gives to the gradient of a layer, from all that it read and its gates' gradient."""
    rows = d_gates.reshape(-1, d_gates.shape[-1])
    hidden = hidden.reshape(len(rows), -1)
    bias = total.bias + rows.sum(0)
    if jnp.issubdtype(inputs.dtype, jnp.integer):
        kernel = total.kernel.at[inputs.reshape(-1)].add(rows)
        return Layer(kernel, total.recurrent + matmul(hidden.T, rows), bias)
    inputs = inputs.reshape(len(rows), -1)
    if inputs.shape[-1] < hidden.shape[-1]:  # A few channels beside it would spoil the shape of the large product.
        return Layer(total.kernel + matmul(inputs.T, rows), total.recurrent + matmul(hidden.T, rows), bias)
    both = matmul(jnp.concatenate([inputs, hidden], axis=-1).T, rows)
    return Layer(total.kernel + both[: inputs.shape[-1]], total.recurrent + both[inputs.shape[-1] :], bias)


def run_backward(with_cells, matmul, kept, cotangents):
    """The gradient of `run_lstm`, chunk by chunk from the end."""
    del with_cells
    layers, inputs, active, cuts, gates, starts = kept
    d_final, d_outputs = cotangents
    is_tokens = jnp.issubdtype(inputs.dtype, jnp.integer)
    transposed = [layers[0].recurrent.T, *[jnp.concatenate([x.kernel, x.recurrent]).T for x in layers[1:]]]
    step = retreat_all(transposed, [len(layer.recurrent) for layer in layers], matmul)

    def run_chunk(carry, xs):
        d_states, totals = carry
        (chunk, is_active, is_cut, gates, d_outputs), start = xs
        before, after = zip(*[replay(g, s, is_active) for g, s in zip(gates, start, strict=True)], strict=True)
        d_states, d_gates = jax.lax.scan(
            step, d_states, (gates, before, after, is_active, is_cut, d_outputs), reverse=True
        )
        read = [chunk, *[h for _, h in after[:-1]]]
        totals = [add_products(t, x, b[1], d, matmul) for t, x, b, d in zip(totals, read, before, d_gates, strict=True)]
        return (d_states, totals), None if is_tokens else matmul(d_gates[0], layers[0].kernel.T)

    carry = list(d_final), jax.tree.map(jnp.zeros_like, list(layers))
    by_steps = inputs, active, cuts, gates, d_outputs
    (d_initial, d_layers), d_inputs = scan_chunks_back(run_chunk, carry, by_steps, starts)
    return tuple(d_layers), tuple(d_initial), d_inputs, None, None


def scan_chunks_back(run_chunk, carry, by_steps, starts):
    """`run_chunk` on `(steps, start)` of every chunk from the end, of which the last may be shorter."""
    whole, rest = divmod(len(by_steps[0]), CHUNK)
    last = None
    if rest:
        tail = jax.tree.map(lambda x: x[whole * CHUNK :], by_steps)
        carry, last = run_chunk(carry, (tail, jax.tree.map(lambda s: s[whole], starts)))
    divided = jax.tree.map(lambda x: x[: whole * CHUNK].reshape(whole, CHUNK, *x.shape[1:]), by_steps)
    firsts = jax.tree.map(lambda s: s[:whole], starts)
    carry, found = jax.lax.scan(run_chunk, carry, (divided, firsts), reverse=True)
    found = jax.tree.map(lambda f: f.reshape(-1, *f.shape[2:]), found)
    return carry, jax.tree.map(lambda f, r: jnp.concatenate([f, r]), found, last) if rest else found


run_lstm.defvjp(run_and_keep, run_backward)
