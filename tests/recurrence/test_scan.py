"""The chunked scan: its values, and how far its gradients reach."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from naive import randomize

from aux_rnn.recurrence.cells import LSTMCell
from aux_rnn.recurrence.scan import truncated_scan


class Chunked(nn.Module):
    """An LSTM over `[steps, B, E]`, cut every `chunk_length` steps."""

    chunk_length: Any

    @nn.compact
    def __call__(self, state: Any, elements: jax.Array) -> tuple[Any, jax.Array]:
        def step(cell: nn.Module, state: Any, element: jax.Array) -> tuple[Any, jax.Array]:
            return cell(state, element)

        return truncated_scan(step, LSTMCell(4, name="cell"), state, elements, self.chunk_length)


@pytest.mark.parametrize("chunk_length", [4, "full"])
def test_truncated_scan(chunk_length):
    steps, batch = 6, 2
    elements, *initial = randomize([np.empty((steps, batch, 3)), np.empty((batch, 4)), np.empty((batch, 4))], seed=6)
    initial = tuple(initial)
    module = Chunked(chunk_length)
    variables = randomize(jax.eval_shape(module.init, jax.random.key(0), initial, elements), seed=7)

    def run(initial: Any) -> tuple[jax.Array, Any]:
        state, outputs = module.apply(variables, initial, elements)
        return jnp.sum(outputs, axis=(1, 2)), (state, outputs)

    jacobian, actual = jax.jit(jax.jacrev(run, has_aux=True))(initial)
    state, outputs = initial, []
    for element in elements:
        state, output = LSTMCell(4).apply({"params": variables["params"]["cell"]}, state, element)
        outputs.append(output)
    chex.assert_trees_all_close(actual, (state, jnp.stack(outputs)), rtol=1e-5, atol=1e-6)

    first_chunk = steps if chunk_length == "full" else chunk_length
    for leaf in jax.tree.leaves(jacobian):
        reached = np.asarray(leaf != 0).reshape(steps, -1)
        np.testing.assert_array_equal(reached.any(-1), np.arange(steps) < first_chunk)
        np.testing.assert_array_equal(reached.any(-1), reached.all(-1))
