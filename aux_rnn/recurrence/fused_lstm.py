r"""Runs LSTM layers over many steps with a hand-written gradient: a scan of `LSTMCell`s, but faster.

Four properties make it fast:

* The embedding is folded into the bottom layer: `(x E + e) W + b` is one small matrix for pixels, one table for tokens.
* All layers take a step together in one loop; no layer writes its outputs to memory for the layer above.
* The residuals are the gates of every step and the states at the start of every `CHECKPOINT_EVERY` steps. The states in
  between are recomputed from the gates without a matrix product; recomputing the gates would take all of them.
* The gradients of the weight matrices are one product per chunk, where automatic differentiation adds one per step.

One step of a layer, whose gates lie side by side in the order `i, f, g, o`:

.. math::
    z = x W + h U + b, \quad c' = \sigma(z_f) c + \sigma(z_i) \tanh(z_g), \quad h' = \sigma(z_o) \tanh(c')

Backpropagation through the step, where `d` marks the gradient of the loss:

.. math::
    dc' &\mathrel{+}= dh' \, o \, (1 - \tanh(c')^2) \\
    dz_i &= dc' \, g \, i (1 - i), \quad dz_f = dc' \, c \, f (1 - f), \quad dz_g = dc' \, i (1 - g^2) \\
    dz_o &= dh' \tanh(c') \, o (1 - o) \\
    dc &= dc' \, f, \quad dh = dz \, U^T, \quad dx = dz \, W^T
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aux_rnn.recurrence.precision import MatMul, standard_promotion
from aux_rnn.recurrence.scan import join_chunks, split_chunks, steps_per_iteration, tree_where

CHECKPOINT_EVERY = 10  # steps: a chunk's arrays should fit into the cache of a core

State = tuple[jax.Array, jax.Array]  # c and h, each [R, H]
Gates = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # i, f, g and o, activated, each [R, H]


class LSTMParams(NamedTuple):
    """The parameters of one LSTM layer, or their gradients.

    Attributes:
      kernel: `W`, `[C, 4H]`; for tokens a table, `[vocabulary_size, 4H]`.
      recurrent: `U`, `[H, 4H]`.
      bias: `b`, `[4H]`.
    """

    kernel: jax.Array
    recurrent: jax.Array
    bias: jax.Array


Layers = tuple[LSTMParams, ...]  # bottom layer first; each reads the hidden state of the layer below
States = tuple[State, ...]  # of each layer


class StepInputs(NamedTuple):
    """What the steps of a run read, with a leading axis of `T` steps.

    Attributes:
      elements: `[T, R, C]`, or tokens, int `[T, R]`.
      mask: bool `[T, R, 1]` or `[T, 1, H]`; where it is false, a step keeps the states. None where every step advances.
    """

    elements: jax.Array
    mask: jax.Array | None = None


def layer_params(cell: Mapping[str, jax.Array]) -> LSTMParams:
    """Returns the parameters of an `LSTMCell`."""
    return LSTMParams(cell["input_kernel"], cell["recurrent_kernel"], cell["bias"])


def fold_embedding(cell: Mapping[str, jax.Array], embedding: Mapping[str, Any]) -> LSTMParams:
    """Merges an `LSTMCell` and the `Embedding` before it: `(x E + e) W + b = x (E W) + (e W + b)`."""
    kernel, recurrent, bias = layer_params(cell)
    if "table" in embedding:
        return LSTMParams(embedding["table"]["embedding"] @ kernel, recurrent, bias)
    linear = embedding["linear"]
    return LSTMParams(linear["kernel"] @ kernel, recurrent, linear["bias"] @ kernel + bias)


def sigmoid(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def split_and_activate(z: jax.Array) -> Gates:
    i, f, g, o = jnp.split(z, 4, axis=-1)
    return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)


def input_gates(kernel: jax.Array, inputs: jax.Array, matmul: MatMul) -> jax.Array:
    """Returns what inputs `[..., C]`, or tokens `[...]`, add to the gates, `[..., 4H]`."""
    return kernel[inputs] if is_tokens(inputs) else matmul(inputs, kernel)


def steps_per_chunk() -> int:
    """Returns how many steps have one set of states in the residuals; at least those of an iteration of the loop."""
    return max(CHECKPOINT_EVERY, steps_per_iteration())


def is_tokens(elements: jax.Array) -> bool:
    return jnp.issubdtype(elements.dtype, jnp.integer)


def lstm_step(params: LSTMParams, state: State, inputs: jax.Array, matmul: MatMul) -> tuple[State, Gates]:
    """Runs one step of one layer on `[R, C]` or tokens `[R]`."""
    c, h = state
    i, f, g, o = split_and_activate(
        input_gates(params.kernel, inputs, matmul) + matmul(h, params.recurrent) + params.bias
    )
    c = f * c + i * g
    return (c, o * jnp.tanh(c)), (i, f, g, o)


def scan_lstm(
    params: Layers, states: States, inputs: StepInputs, return_cells: bool = False, matmul: MatMul = jnp.matmul
) -> tuple[States, tuple[jax.Array | None, jax.Array]]:
    """Runs `T` steps, differentiated automatically.

    Args:
      params: of each layer.
      states: of each layer before the first step.
      inputs: of all steps.
      return_cells: whether to return the cells `c` of every step.
      matmul: the matrix product, see `precision.py`.

    Returns:
      The states after the last step, and `(c, h)` of the top layer after every step, `[T, R, H]`, where `c` is None
      unless `return_cells`.
    """
    final, (outputs, _) = run_chunk(params, list(states), inputs, return_cells, matmul, keep_gates=False)
    return tuple(final), outputs


run_lstm = jax.custom_vjp(scan_lstm, nondiff_argnums=(3, 4))
run_lstm.__doc__ = "Runs `T` steps as `scan_lstm` does, with the hand-written gradient of `run_lstm_bwd`."


def run_chunk(params, states, inputs, return_cells, matmul, *, keep_gates):
    """Runs successive steps; returns the states after them, and `run_lstm`'s outputs and the gates of every step."""

    def step(states, xs: StepInputs):
        layer_input, mask = xs
        new_states, gates = [], []
        for layer, state in zip(params, states, strict=True):
            advanced, activated = lstm_step(layer, state, layer_input, matmul)
            new_states.append(tree_where(mask, advanced, state))
            gates.append(activated)
            layer_input = new_states[-1][1]
        outputs = new_states[-1] if return_cells else (None, layer_input)
        return new_states, (outputs, gates if keep_gates else None)

    return jax.lax.scan(step, states, inputs, unroll=steps_per_iteration())


def run_lstm_fwd(params, states, inputs, return_cells, matmul):
    """Runs all steps; also returns the residuals.

    These are the parameters, the inputs and, of each chunk of `steps_per_chunk()` steps and of the steps after them,
    the gates of each layer, leaves `[steps, R, H]`, and its states before the chunk, leaves `[R, H]`.
    """

    def run_and_save(states, chunk: StepInputs):
        final, (outputs, gates) = run_chunk(params, states, chunk, return_cells, matmul, keep_gates=True)
        return final, (outputs, (gates, states))

    whole, rest = split_chunks(inputs, steps_per_chunk())
    final, (outputs, saved) = jax.lax.scan(run_and_save, list(states), whole)
    last_outputs = last = None
    if rest is not None:
        final, (last_outputs, last) = run_and_save(final, rest)
    return (tuple(final), join_chunks(outputs, last_outputs)), (params, inputs, saved, last)


@standard_promotion()
def run_lstm_bwd(return_cells, matmul, residuals, cotangents):
    """Computes the gradient of `run_lstm` chunk by chunk, from the last chunk to the first."""
    del return_cells
    params, inputs, saved, last = residuals
    d_final, d_outputs = cotangents
    # From the gates' gradient to that of what a layer read: `[4H, H]` in the bottom layer, `[4H, H_below + H]` above.
    transposed = [params[0].recurrent.T, *[jnp.concatenate([p.kernel, p.recurrent]).T for p in params[1:]]]
    step = partial(layers_step_bwd, transposed, matmul)

    def run_chunk_bwd(carry, chunk):
        d_states, totals = carry
        (own, d_outputs), (gates, states) = chunk
        pairs = [recompute_states(g, s, own.mask) for g, s in zip(gates, states, strict=True)]
        before, after = zip(*pairs, strict=True)
        xs = gates, before, after, own.mask, d_outputs
        d_states, d_gates = jax.lax.scan(step, d_states, xs, reverse=True, unroll=steps_per_iteration())
        # Where the loop is unrolled, XLA would add up the gradient of a bias step by step.
        d_gates = jax.lax.optimization_barrier(d_gates)
        layer_inputs = [own.elements, *[h for _, h in after[:-1]]]
        totals = [
            accumulate_weight_grads(total, layer_input, state[1], d, matmul)
            for total, layer_input, state, d in zip(totals, layer_inputs, before, d_gates, strict=True)
        ]
        return (d_states, totals), None if is_tokens(own.elements) else matmul(d_gates[0], params[0].kernel.T)

    carry, d_rest = (list(d_final), jax.tree.map(jnp.zeros_like, list(params))), None
    whole, rest = split_chunks((inputs, d_outputs), steps_per_chunk())
    if rest is not None:
        carry, d_rest = run_chunk_bwd(carry, (rest, last))
    (d_initial, d_params), d_whole = jax.lax.scan(run_chunk_bwd, carry, (whole, saved), reverse=True)
    return tuple(d_params), tuple(d_initial), StepInputs(join_chunks(d_whole, d_rest))


run_lstm.defvjp(run_lstm_fwd, run_lstm_bwd)


def recompute_states(gates: Gates, start: State, mask: jax.Array | None) -> tuple[State, State]:
    """Returns the states before and after each step of a chunk, leaves `[steps, R, H]`, from its gates."""

    def step(state, xs):
        (i, f, g, o), step_mask = xs
        c = f * state[0] + i * g
        new = tree_where(step_mask, (c, o * jnp.tanh(c)), state)
        return new, (state, new)

    return jax.lax.scan(step, start, (gates, mask), unroll=steps_per_iteration())[1]


def lstm_step_bwd(gates: Gates, c_before: jax.Array, c: jax.Array, d_state: State) -> tuple[jax.Array, jax.Array]:
    """Backpropagates through one step.

    Returns:
      The gradients of the previous cell, `[R, H]`, and of the gates before their activation, `[R, 4H]`.
    """
    (i, f, g, o), (d_c, d_h) = gates, d_state
    squashed = jnp.tanh(c)
    d_c = d_c + d_h * o * (1 - squashed * squashed)
    parts = d_c * g * i * (1 - i), d_c * c_before * f * (1 - f), d_c * i * (1 - g * g), d_h * squashed * o * (1 - o)
    return d_c * f, jnp.concatenate(parts, axis=-1)


def layers_step_bwd(transposed: Sequence[jax.Array], matmul: MatMul, d_states, xs):
    """Backpropagates through one step of all layers, from the top layer to the bottom layer.

    Args:
      transposed: for each layer the matrix from the gradient of its gates to the gradient of what it read.
      matmul: the matrix product.
      d_states: the gradient of each layer's state after the step.
      xs: what `run_lstm_bwd` has of the step.

    Returns:
      The gradients of the states before the step and of the gates before their activation, for each layer.
    """
    gates, before, after, mask, (d_cell, d_hidden) = xs
    new_d_states: list[Any] = [None] * len(d_states)
    d_gates_by_layer: list[Any] = [None] * len(d_states)
    for k in reversed(range(len(d_states))):
        d_c, d_h = d_states[k]
        size = d_c.shape[-1]
        d_c = d_c if d_cell is None else d_c + d_cell
        d_state = d_c, d_h + d_hidden
        d_c, d_gates = lstm_step_bwd(gates[k], before[k][0], after[k][0], d_state)
        if mask is not None:
            d_gates = jnp.where(mask if mask.shape[-1] == 1 else jnp.tile(mask, 4), d_gates, 0)
        d_read = matmul(d_gates, transposed[k])
        d_hidden, d_cell, d_h = d_read[:, :-size], None, d_read[:, -size:]
        if mask is not None:  # Units that advance may have read units that do not.
            d_c, d_h = jnp.where(mask, d_c, d_state[0]), d_h + jnp.where(mask, 0, d_state[1])
        new_d_states[k] = d_c, d_h
        d_gates_by_layer[k] = d_gates
    return new_d_states, d_gates_by_layer


def accumulate_weight_grads(
    total: LSTMParams, inputs: jax.Array, hidden: jax.Array, d_gates: jax.Array, matmul: MatMul
) -> LSTMParams:
    """Adds the contribution of a chunk to the gradient of a layer's parameters."""
    rows = d_gates.reshape(-1, d_gates.shape[-1])
    hidden = hidden.reshape(len(rows), -1)
    bias = total.bias + rows.sum(0)
    if is_tokens(inputs):
        kernel = total.kernel.at[inputs.reshape(-1)].add(rows)
        return LSTMParams(kernel, total.recurrent + matmul(hidden.T, rows), bias)
    inputs = inputs.reshape(len(rows), -1)
    if inputs.shape[-1] < hidden.shape[-1]:  # A few extra rows would make the large product an unfavorable shape.
        return LSTMParams(total.kernel + matmul(inputs.T, rows), total.recurrent + matmul(hidden.T, rows), bias)
    both = matmul(jnp.concatenate([inputs, hidden], axis=-1).T, rows)
    return LSTMParams(total.kernel + both[: inputs.shape[-1]], total.recurrent + both[inputs.shape[-1] :], bias)
