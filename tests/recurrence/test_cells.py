"""The LSTM cell."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from naive import randomize

from aux_rnn.recurrence.cells import LSTMCell


def test_lstm_cell_equals_that_of_flax():
    inputs, *carry = randomize([np.empty((2, 3)), np.empty((2, 4)), np.empty((2, 4))], seed=8)
    carry = tuple(carry)
    ours = LSTMCell(4)
    params = randomize(jax.eval_shape(ours.init, jax.random.key(0), carry, inputs)["params"], seed=9)
    theirs = {}
    for index, gate in enumerate("ifgo"):
        own = slice(4 * index, 4 * index + 4)
        theirs[f"i{gate}"] = {"kernel": params["input_kernel"][:, own]}
        theirs[f"h{gate}"] = {"kernel": params["recurrent_kernel"][:, own], "bias": params["bias"][own]}
    expected = nn.LSTMCell(4).apply({"params": theirs}, carry, inputs)
    chex.assert_trees_all_close(ours.apply({"params": params}, carry, inputs), expected, rtol=1e-5, atol=1e-6)


def test_forget_gate_is_open_at_the_start():
    init = jax.jit(LSTMCell(4).init)
    params = init(jax.random.key(0), (jnp.zeros((1, 4)), jnp.zeros((1, 4))), jnp.zeros((1, 3)))["params"]
    chex.assert_trees_all_equal(params["bias"], jnp.repeat(jnp.array([0.0, 1.0, 0.0, 0.0]), 4))
