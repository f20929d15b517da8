r"""Runs the layers of an LSTM as one layer, for devices on which starting an operation costs more than its work: GPUs.

Layer `k`, counted from the bottom, runs `k` steps later than the bottom layer. What it reads from the layer below is
then a state of the step before, like its own, and one matrix product and one function of the gates run all layers. For
two layers:

.. math::
    [z^1_t, z^2_{t-1}] = x_t [W^1, 0] + [h^1_{t-1}, h^2_{t-2}]
    \begin{bmatrix} U^1 & W^2 \\ 0 & U^2 \end{bmatrix} + [b^1, b^2]
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aux_rnn.recurrence.fused_lstm import Layers, LSTMParams, States, StepInputs, run_lstm
from aux_rnn.recurrence.precision import MatMul


def run_joined_lstm(
    params: Layers, states: States, inputs: StepInputs, return_cells: bool = False, matmul: MatMul = jnp.matmul
) -> tuple[States, tuple[jax.Array | None, jax.Array]]:
    """Computes `run_lstm` without a mask, in `T + L - 1` steps for `L` layers."""
    elements, extra_steps = inputs.elements, len(params) - 1
    sizes = [len(layer.recurrent) for layer in params]
    delays = np.repeat(np.arange(len(sizes)), sizes)
    own_steps = np.arange(len(elements) + extra_steps)[:, None] - delays  # [T + L - 1, units]
    advances = jnp.asarray((own_steps >= 0) & (own_steps < len(elements)))[:, None]
    padded = jnp.pad(elements, [(0, extra_steps), *[(0, 0)] * (elements.ndim - 1)])
    c, h = (jnp.concatenate(leaves, axis=-1) for leaves in zip(*states, strict=True))
    joined = StepInputs(padded, advances)
    (final,), outputs = run_lstm((join_layers(params),), ((c, h),), joined, return_cells, matmul)
    cells, hidden = (jnp.split(s, np.cumsum(sizes)[:-1], axis=-1) for s in final)
    top: Any = jax.tree.map(lambda s: s[extra_steps:, :, -sizes[-1] :], outputs)
    return tuple(zip(cells, hidden, strict=True)), top


def join_layers(params: Layers) -> LSTMParams:
    """Returns the layers as one layer with the units of all."""
    sizes = [len(layer.recurrent) for layer in params]

    def widen(layer: int, gates: jax.Array) -> jax.Array:
        """Adds zeros for the units of the other layers to each of the four gates, `[..., 4H]`."""
        below, above = sum(sizes[:layer]), sum(sizes[layer + 1 :])
        by_gate = gates.reshape(*gates.shape[:-1], 4, -1)
        wide = jnp.pad(by_gate, [(0, 0)] * gates.ndim + [(below, above)])
        return wide.reshape(*gates.shape[:-1], -1)

    recurrent = [widen(k, layer.recurrent) for k, layer in enumerate(params)]
    for k, layer in enumerate(params[1:]):
        recurrent[k] += widen(k + 1, layer.kernel)
    bias = jnp.sum(jnp.stack([widen(k, layer.bias) for k, layer in enumerate(params)]), axis=0)
    return LSTMParams(widen(0, params[0].kernel), jnp.concatenate(recurrent), bias)
