"""The fused LSTM against a loop of plain steps: values and all gradients, with held rows and cuts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config import ConfigError, ModelConfig
from aux_rnn.fused import CHUNK, FoldedEncoder, Layer, advance, fold, run_lstm

R, C, H = 3, 2, 4


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def draw(random, *shape):
    return jnp.asarray(random.normal(size=shape), float)


def plain_lstm(layers, states, inputs, active, cuts, with_cells):
    """`run_lstm` step by step, differentiated automatically."""
    history = []
    for step, element in enumerate(inputs):
        if cuts is not None and cuts[step]:
            states = jax.lax.stop_gradient(states)
        new, below = [], element
        for layer, (c, h) in zip(layers, states, strict=True):
            read = layer.kernel[below] if below.ndim == 1 else below @ layer.kernel
            i, f, g, o = jnp.split(read + h @ layer.recurrent + layer.bias, 4, axis=-1)
            c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
            rows = jnp.ones(len(h), bool) if active is None else active[step]
            new.append((jnp.where(rows[:, None], c_new, c), jnp.where(rows[:, None], h_new, h)))
            below = new[-1][1]
        states = tuple(new)
        history.append(states[-1])
    cells, hidden = jax.tree.map(lambda *leaves: jnp.stack(leaves), *history)
    return states, (cells if with_cells else None, hidden)


CASES = {
    "one layer": dict(sizes=(4,), active=False, cuts=False),
    "held rows, cuts, cells": dict(sizes=(4,), active=True, cuts=True, with_cells=True),
    "three layers, held rows": dict(sizes=(4, 2, 3), active=True, cuts=False),
    "two layers, cuts, cells": dict(sizes=(3, 5), active=False, cuts=True, with_cells=True),
    "tokens": dict(sizes=(4, 3), active=True, cuts=True, is_tokens=True),
}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("steps", [1, CHUNK - 1, CHUNK, 2 * CHUNK + 3])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_equal_those_of_plain_steps(steps, case):
    check_against_plain_steps(steps, **CASES[case])


def check_against_plain_steps(steps, sizes, active, cuts, with_cells=False, is_tokens=False):
    random = np.random.default_rng(steps)
    below = [7 if is_tokens else C, *sizes]
    layers = tuple(
        Layer(draw(random, b, 4 * h), draw(random, h, 4 * h), draw(random, 4 * h))
        for b, h in zip(below, sizes, strict=False)
    )
    states = tuple((draw(random, R, h), draw(random, R, h)) for h in sizes)
    inputs = jnp.asarray(random.integers(0, 7, (steps, R))) if is_tokens else draw(random, steps, R, C)
    active = jnp.asarray(random.random((steps, R)) > 0.2) if active else None
    cuts = random.random(steps) < 0.2 if cuts else None
    top = draw(random, steps, R, sizes[-1]), draw(random, steps, R, sizes[-1])
    weights = states, (top[0] if with_cells else None, top[1])

    def make_loss(run):
        def loss(layers, states, inputs):
            outputs = run(layers, states, inputs, active, cuts, with_cells)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, weights, outputs))), outputs

        return jax.value_and_grad(loss, argnums=(0, 1) if is_tokens else (0, 1, 2), has_aux=True)

    actual, expected = (make_loss(run)(layers, states, inputs) for run in (run_lstm, plain_lstm))
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
        whole = Layer(cell["input_kernel"], cell["recurrent_kernel"], cell["bias"])
        expected, _ = advance(whole, state, embedded, jnp.matmul)
        chex.assert_trees_all_close(
            FoldedEncoder(fold(cell, embedding))(state, element), expected, rtol=1e-5, atol=1e-6
        )


def test_cells_without_a_fused_form_say_so():
    with pytest.raises(
        ConfigError, match=r"--recurrence=fused: must be auto or scan with --encoder=gru; fused is for lstm"
    ):
        ModelConfig(encoder="gru", recurrence="fused")
