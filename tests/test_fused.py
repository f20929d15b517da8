"""The fused LSTM against a loop of plain steps: values and all gradients, with held rows and cuts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config import ConfigError, ModelConfig
from aux_rnn.fused import CHUNK, Folded, FoldedEncoder, advance, fold, project, run_lstm

R, C, H = 3, 2, 4


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def draw(random, *shape):
    return jnp.asarray(random.normal(size=shape), float)


def plain_lstm(cell, state, inputs, active, cuts):
    """`run_lstm` step by step, differentiated automatically."""
    states = []
    for projected, is_active, is_cut in zip(project(cell, inputs), active, cuts, strict=True):
        if is_cut:
            state = jax.lax.stop_gradient(state)
        advanced = advance(cell, state, projected)
        state = tuple(jnp.where(is_active[:, None], new, old) for new, old in zip(advanced, state, strict=True))
        states.append(state)
    return state, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 3])
@pytest.mark.parametrize("is_projected", [False, True])
def test_values_and_gradients_equal_those_of_plain_steps(steps, is_projected):
    random = np.random.default_rng(steps)
    kernel = None if is_projected else draw(random, C, 4 * H)
    cell = Folded(kernel, draw(random, H, 4 * H), draw(random, 4 * H))
    state = draw(random, R, H), draw(random, R, H)
    inputs = draw(random, steps, R, 4 * H if is_projected else C)
    active, cuts = random.random((steps, R)) > 0.2, random.random(steps) < 0.2
    every = draw(random, steps, R, H), draw(random, steps, R, H)
    weights = (draw(random, R, H), draw(random, R, H)), every

    def make_loss(run):
        def loss(cell, state, inputs):
            outputs = run(cell, state, inputs, active, cuts)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, weights, outputs))), outputs

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)

    actual, expected = (make_loss(run)(cell, state, inputs) for run in (run_lstm, plain_lstm))
    chex.assert_trees_all_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_an_embedding_is_folded_without_a_change():
    random = np.random.default_rng(0)
    cell = {
        "input_kernel": draw(random, 5, 4 * H),
        "recurrent_kernel": draw(random, H, 4 * H),
        "bias": draw(random, 4 * H),
    }
    linear = {"kernel": draw(random, C, 5), "bias": draw(random, 5)}
    table = draw(random, 7, 5)
    state, pixel, token = (draw(random, R, H), draw(random, R, H)), draw(random, R, C), jnp.array([0, 6, 3])
    for embedding, element, embedded in (
        ({"linear": linear}, pixel, pixel @ linear["kernel"] + linear["bias"]),
        ({"table": {"embedding": table}}, token, table[token]),
    ):
        whole = Folded(cell["input_kernel"], cell["recurrent_kernel"], cell["bias"])
        expected = advance(whole, state, project(whole, embedded))
        encoder = fold(cell, embedding)
        assert isinstance(encoder, FoldedEncoder)
        chex.assert_trees_all_close(encoder(state, element), expected, rtol=1e-5, atol=1e-6)


def test_cells_without_a_fused_form_say_so():
    with pytest.raises(
        ConfigError, match=r"--recurrence=fused: must be auto or scan with --encoder=gru; fused is for lstm"
    ):
        ModelConfig(encoder="gru", recurrence="fused")
