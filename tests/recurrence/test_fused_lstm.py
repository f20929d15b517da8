"""Checks the fused LSTM against a loop of plain steps: values and all gradients, with masks and truncation."""

import itertools

import chex
import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from test_gradients import mark_slow_except

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import ModelConfig
from aux_rnn.recurrence.backends import FusedBackend
from aux_rnn.recurrence.fused_lstm import CHECKPOINT_EVERY, LSTMParams, StepInputs, run_lstm
from aux_rnn.recurrence.joined_layers import run_joined_lstm
from aux_rnn.recurrence.scan import GPU_UNROLL, traced_for

R, C = 3, 2


def draw(random, *shape):
    return jnp.asarray(random.normal(size=shape), float)


def plain_lstm(layers, states, inputs, return_cells):
    """Runs `run_lstm` step by step, differentiated automatically."""
    (elements, mask), history = inputs, []
    run_step = jax.vmap(naive.lstm_step, (None, 0, 0))
    for step, element in enumerate(elements):
        new, below = [], element if element.ndim > 1 else jax.nn.one_hot(element, len(layers[0].kernel))
        advances = True if mask is None else mask[step]
        for layer, state in zip(layers, states, strict=True):
            params = {"input_kernel": layer.kernel, "recurrent_kernel": layer.recurrent, "bias": layer.bias}
            after = run_step(params, state, below)
            new.append(jax.tree.map(lambda a, b, advances=advances: jnp.where(advances, a, b), after, state))
            below = new[-1][1]
        states = tuple(new)
        history.append(states[-1])
    cells, hidden = jax.tree.map(lambda *leaves: jnp.stack(leaves), *history)
    return states, (cells if return_cells else None, hidden)


CASES = {
    "one layer": dict(sizes=(4,), masked=False),
    "mask, cells": dict(sizes=(4,), masked=True, cells=True),
    "three layers, mask": dict(sizes=(4, 2, 3), masked=True),
    "two layers, cells": dict(sizes=(3, 5), masked=False, cells=True),
    "tokens": dict(sizes=(4, 3), masked=True, is_tokens=True),
}

STEPS = (1, CHECKPOINT_EVERY - 1, CHECKPOINT_EVERY, 2 * CHECKPOINT_EVERY + 3)
# Each case and each number of steps at least once.
QUICK = {(case, STEPS[number]) for case, number in zip(CASES, (0, 3, 2, 1, 3), strict=True)}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("case", "steps"), mark_slow_except(QUICK, itertools.product(CASES, STEPS)))
def test_values_and_gradients_equal_those_of_plain_steps(case, steps):
    check_against_plain_steps(steps, **CASES[case])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", [CASES["two layers, cells"], dict(sizes=(4, 2, 3), masked=False, is_tokens=True)])
def test_joined_layers_equal_plain_steps(case):
    check_against_plain_steps(CHECKPOINT_EVERY + 1, **case, run=run_joined_lstm)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_the_program_for_a_gpu_equals_plain_steps():
    with traced_for("gpu"):
        check_against_plain_steps(GPU_UNROLL + 3, **CASES["two layers, cells"], run=FusedBackend.run)


def check_against_plain_steps(steps, sizes, masked, cells=False, is_tokens=False, run=run_lstm, tolerance=1e-10):
    random = np.random.default_rng(steps)
    below = [7 if is_tokens else C, *sizes]
    layers = tuple(
        LSTMParams(draw(random, b, 4 * h), draw(random, h, 4 * h), draw(random, 4 * h))
        for b, h in zip(below, sizes, strict=False)
    )
    states = tuple((draw(random, R, h), draw(random, R, h)) for h in sizes)
    inputs = jnp.asarray(random.integers(0, 7, (steps, R))) if is_tokens else draw(random, steps, R, C)
    mask = jnp.asarray(random.random((steps, R, 1)) > 0.2) if masked else None
    if masked and run is not run_lstm:
        mask = jnp.sort(mask, axis=0)  # kernels know padding only
    top = draw(random, steps, R, sizes[-1]), draw(random, steps, R, sizes[-1])
    weights = states, (top[0] if cells else None, top[1])

    def make_loss(run):
        def loss(layers, states, inputs):
            outputs = run(layers, states, StepInputs(inputs, mask), return_cells=cells)
            return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, weights, outputs))), outputs

        return jax.value_and_grad(loss, argnums=(0, 1) if is_tokens else (0, 1, 2), has_aux=True)

    actual = jax.jit(make_loss(run))(layers, states, inputs)
    expected = make_loss(plain_lstm)(layers, states, inputs)
    chex.assert_trees_all_close(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "value", "allowed"), [("recurrence", "pallas", "auto or scan"), ("precision", "bfloat16", "float32")]
)
def test_cells_without_a_fused_form_say_so(name, value, allowed):
    message = f"{name}={value}: must be {allowed} with encoder=gru; {value} is for"
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**{"encoder": "gru", name: value})
