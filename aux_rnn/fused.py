r"""The LSTM over many steps with its gradient written by hand: the same function as a scan of `LSTMCell`, only faster.

What makes it so:

* The embedding is folded into the cell: `(x E + e) W + b` is one small matrix for pixels, and one table for tokens.
* Only the states are kept for the backward pass. The gates are computed anew, for a chunk of steps in one product.
* The gradients of the matrices are one product a chunk, where automatic differentiation adds one up every step.

Forward, for each step with its gates side by side, `i, f, g, o`:

.. math::
    z = x W + h U + b, \quad c' = \sigma(z_f) c + \sigma(z_i) \tanh(z_g), \quad h' = \sigma(z_o) \tanh(c')
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

CHUNK = 8  # steps: small enough for their gates to stay in a core's cache

State = tuple[jax.Array, jax.Array]  # c and h, each [R, H]


class Folded(NamedTuple):
    """A cell with the embedding before it.

    Attributes:
      kernel: `W`, `[C, 4H]`, or None where the inputs are projected already.
      recurrent: `U`, `[H, 4H]`.
      bias: `[4H]`.
    """

    kernel: jax.Array | None
    recurrent: jax.Array
    bias: jax.Array


class FoldedEncoder(NamedTuple):
    """An encoder `(state, element) -> state` without a module around it (see `recurrence.py`).

    Attributes:
      cell: for elements of `C` values; for tokens without a kernel.
      table: for tokens, what each of them adds to the gates, `[vocabulary_size, 4H]`.
    """

    cell: Folded
    table: jax.Array | None

    def __call__(self, state: State, element: jax.Array) -> State:
        return advance(self.cell, state, project(self.cell, self.read(element)))

    def initial_state(self, batch: int) -> State:
        zeros = jnp.zeros((batch, self.cell.recurrent.shape[0]), self.cell.recurrent.dtype)
        return zeros, zeros

    def read(self, elements: jax.Array) -> jax.Array:
        """Elements `[..., C]` as they are, tokens `[...]` projected, `[..., 4H]`."""
        return elements if self.table is None else self.table[elements]

    def run(self, state: State, elements: jax.Array, active: jax.Array) -> tuple[State, State]:
        """The state after `T` steps, and all of them; `elements` `[T, R, C]` or `[T, R]`, `active` bool `[T, R]`."""
        return run_lstm(self.cell, state, self.read(elements), active, jnp.zeros(len(elements), bool))


def fold(cell: Mapping[str, jax.Array], embedding: Mapping[str, Any]) -> FoldedEncoder:
    """An `LSTMCell` and the `Embedding` before it as one: `(x E + e) W + b = x (E W) + (e W + b)`."""
    recurrent, bias = cell["recurrent_kernel"], cell["bias"]
    if "table" in embedding:
        return FoldedEncoder(Folded(None, recurrent, bias), embedding["table"]["embedding"] @ cell["input_kernel"])
    linear = embedding["linear"]
    kernel, bias = linear["kernel"] @ cell["input_kernel"], linear["bias"] @ cell["input_kernel"] + bias
    return FoldedEncoder(Folded(kernel, recurrent, bias), None)


def sigmoid(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def project(cell: Folded, inputs: jax.Array) -> jax.Array:
    """What the inputs add to the gates: `[..., C]` to `[..., 4H]`."""
    return (inputs if cell.kernel is None else inputs @ cell.kernel) + cell.bias


def activate(gates: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)


def advance(cell: Folded, state: State, projected: jax.Array) -> State:
    """One step from the projected inputs `[R, 4H]`."""
    c, h = state
    i, f, g, o = activate(projected + h @ cell.recurrent)
    c = f * c + i * g
    return c, o * jnp.tanh(c)


def hold(active: jax.Array, new: State, old: State) -> State:
    """The new state in the rows that are active, bool `[R]`."""
    return tuple(jnp.where(active[:, None], n, o) for n, o in zip(new, old, strict=True))  # type: ignore[return-value]


def divide(tree: Any, chunk: int) -> tuple[Any, Any]:
    """Leaves `[T, ...]` as whole chunks `[T // chunk, chunk, ...]`, and the rest."""
    whole = jax.tree.map(lambda x: x[: len(x) - len(x) % chunk].reshape(-1, chunk, *x.shape[1:]), tree)
    return whole, jax.tree.map(lambda x: x[len(x) - len(x) % chunk :], tree)


def join(whole: Any, rest: Any) -> Any:
    """The inverse of `divide`."""
    return jax.tree.map(lambda w, r: jnp.concatenate([w.reshape(-1, *w.shape[2:]), r]), whole, rest)


@jax.custom_vjp
def run_lstm(cell: Folded, state: State, inputs: jax.Array, active: jax.Array, cuts: jax.Array) -> tuple[State, State]:
    """Runs `T` steps.

    Args:
      cell: see `Folded`.
      state: `(c, h)` before the first step, each `[R, H]`.
      inputs: `[T, R, C]`, or projected `[T, R, 4H]`.
      active: bool `[T, R]`; where it is false a step holds the state.
      cuts: bool `[T]`; where it is true no gradient goes from a step's state back to the one before.

    Returns:
      The state after the last step, and all states, `(c, h)` with leaves `[T, R, H]`.
    """
    return run_forward(cell, state, inputs, active, cuts)[0]


def run_forward(
    cell: Folded, state: State, inputs: jax.Array, active: jax.Array, cuts: jax.Array
) -> tuple[tuple[State, State], Any]:
    """`run_lstm`, and what its gradient needs."""

    def step(state, xs):
        projected, is_active = xs
        state = hold(is_active, advance(cell, state, projected), state)
        return state, state

    def run_chunk(state, xs):
        chunk, is_active = xs
        return jax.lax.scan(step, state, (project(cell, chunk), is_active))

    whole, rest = divide((inputs, active), CHUNK)
    final, states = jax.lax.scan(run_chunk, state, whole)
    final, last = run_chunk(final, rest)
    states = join(states, last)
    return (final, states), (cell, state, inputs, active, cuts, states)


def run_backward(kept: Any, cotangents: tuple[State, State]) -> tuple[Any, ...]:
    """The gradient of `run_lstm`, chunk by chunk from the end."""
    cell, initial, inputs, active, cuts, states = kept
    d_final, d_states = cotangents
    before = jax.tree.map(lambda first, s: jnp.concatenate([first[None], s[:-1]]), initial, states)

    def step(d_state, xs):
        (i, f, g, o), c_before, c, is_active, is_cut, d_given = xs
        d_c, d_h = (a + b for a, b in zip(d_state, d_given, strict=True))
        squashed = jnp.tanh(c)
        d_cell = d_c + d_h * o * (1 - squashed * squashed)
        gates = jnp.concatenate(
            [
                d_cell * g * i * (1 - i),
                d_cell * c_before * f * (1 - f),
                d_cell * i * (1 - g * g),
                d_h * squashed * o * (1 - o),
            ],
            axis=-1,
        )
        gates = jnp.where(is_active[:, None], gates, 0)
        passed = hold(is_active, (d_cell * f, gates @ cell.recurrent.T), (d_c, d_h))
        return jax.tree.map(lambda d: jnp.where(is_cut, 0, d), passed), gates

    def run_chunk(carry, xs):
        d_state, totals = carry
        chunk, (c_before, h_before), (c, _), is_active, is_cut, d_given = xs
        gates = activate(project(cell, chunk) + h_before @ cell.recurrent)
        d_state, d_gates = jax.lax.scan(step, d_state, (gates, c_before, c, is_active, is_cut, d_given), reverse=True)
        d_recurrent = jnp.einsum("trh,trg->hg", h_before, d_gates)
        d_kernel = None if cell.kernel is None else jnp.einsum("trc,trg->cg", chunk, d_gates)
        d_inputs = d_gates if cell.kernel is None else d_gates @ cell.kernel.T
        found = Folded(d_kernel, d_recurrent, d_gates.sum((0, 1)))
        return (d_state, jax.tree.map(jnp.add, totals, found)), d_inputs

    whole, rest = divide((inputs, before, states, active, cuts, d_states), CHUNK)
    carry = (d_final, jax.tree.map(jnp.zeros_like, cell))
    carry, d_rest = run_chunk(carry, rest)
    (d_initial, d_cell), d_whole = jax.lax.scan(run_chunk, carry, whole, reverse=True)
    return d_cell, d_initial, join(d_whole, d_rest), None, None


run_lstm.defvjp(run_forward, run_backward)
