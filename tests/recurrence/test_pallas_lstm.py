"""Checks the kernels for TPUs, which are interpreted on a CPU, and what is used where they cannot run.

The kernels compute float32: with padding to whole registers, sums of up to 600 terms differ from plain steps by 1e-5.
"""

from unittest.mock import Mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_fused_lstm import CASES, check_against_plain_steps, draw
from test_gradients import NAIVE_CASES, make_problem, mark_slow_except

from aux_rnn.recurrence import backends, pallas_lstm
from aux_rnn.recurrence.backends import FoldedEncoder, FusedBackend, PallasBackend, scan_states_at
from aux_rnn.recurrence.cells import LSTMCell
from aux_rnn.recurrence.fused_lstm import LSTMParams, StepInputs, run_lstm
from aux_rnn.recurrence.pallas_lstm import (
    MAX_STEPS,
    agrees_with_scan,
    find_states,
    is_supported,
    measure_error,
    run_pallas_lstm,
    steps_per_block,
)
from aux_rnn.recurrence.precision import bfloat16_matmul


@pytest.fixture
def unchecked():
    """Forgets results of checks and warnings before and after a test."""

    def forget():
        for remembered in (agrees_with_scan, pallas_lstm.warn):
            remembered.cache_clear()

    forget()
    yield
    forget()


@pytest.mark.parametrize("case", mark_slow_except(["mask, cells"], [*CASES][1:]))
def test_values_and_gradients_equal_those_of_plain_steps(case):
    steps = MAX_STEPS + 3  # the second block is not full
    with jax.default_matmul_precision("highest"):
        check_against_plain_steps(steps, **CASES[case], run=run_pallas_lstm, tolerance=1e-5)


@pytest.mark.parametrize("is_tokens", [pytest.param(False, marks=pytest.mark.slow), True])
def test_states_are_found_at_all_positions(is_tokens):
    random = np.random.default_rng(0)
    params = LSTMParams(draw(random, 5, 12), draw(random, 3, 12), draw(random, 12))
    steps, lengths = MAX_STEPS + 1, jnp.array([MAX_STEPS + 1, 4])
    inputs = jnp.asarray(random.integers(0, 5, (2, steps))) if is_tokens else draw(random, 2, steps, 5)
    positions = jnp.array([[0, 1, MAX_STEPS], [MAX_STEPS - 3, MAX_STEPS - 2, steps]])
    elements, mask = jnp.swapaxes(inputs, 0, 1), jnp.arange(steps)[:, None] >= steps - lengths
    expected = scan_states_at(FoldedEncoder(params), elements, mask, positions)
    found = find_states(params, StepInputs(elements, mask[:, :, None]), positions, jnp.matmul)
    chex.assert_trees_all_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["reconstruct", "both, padded, windows of one length", "tokens, padded"])
def test_losses_and_gradients_of_the_model_equal_those_of_a_scan(case):
    """Losses within 1e-5 of their size, all gradients together within 1e-5 of theirs."""
    results = []
    for recurrence in ("scan", "pallas"):
        problem = make_problem(seed=4, recurrence=recurrence, **NAIVE_CASES[case])
        results.append(jax.jit(jax.value_and_grad(lambda params, p=problem: p.losses(params)[0]))(problem.params))
    (expected_loss, expected), (loss, gradients) = results
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    assert optax.tree.norm(optax.tree.sub(gradients, expected)) < 1e-5 * optax.tree.norm(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("matmul", "tolerance"), [(jnp.matmul, 1e-5), (bfloat16_matmul, 1e-3)])
def test_layers_of_the_size_of_registers_agree_with_a_scan(matmul, tolerance):
    assert measure_error(matmul) < tolerance


def test_the_check_on_the_device_decides_about_auto(monkeypatch, caplog, unchecked):
    monkeypatch.setattr(LSTMCell, "is_initializing", lambda self: False)
    selected = [backends.select_backend("auto", LSTMCell(128))]
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    for error in (1e-6, 0.5, float("nan"), ValueError("no\nkernel")):
        agrees_with_scan.cache_clear()
        measured = {"side_effect": error} if isinstance(error, ValueError) else {"return_value": error}
        monkeypatch.setattr(pallas_lstm, "measure_error", Mock(**measured))
        selected.append(backends.select_backend("auto", LSTMCell(128)))
    assert selected == [FusedBackend, PallasBackend, FusedBackend, FusedBackend, FusedBackend]
    messages = [record.getMessage() for record in caplog.records]
    assert [("differ" in m, "cannot be run" in m) for m in messages] == [(True, False), (True, False), (False, True)]
    assert all(m.endswith("compiled loops are used instead") and "\n" not in m for m in messages)


def test_layers_that_do_not_fit_are_run_by_loops_with_one_warning(monkeypatch, caplog, unchecked):
    for sizes, rows, matmul, block in [
        ((128,), 16, jnp.matmul, 16),
        ((256, 256), 16, jnp.matmul, 8),
        ((256, 256), 16, bfloat16_matmul, 16),
        ((512, 512), 16, jnp.matmul, 0),
        ((256, 256), 256, jnp.matmul, 0),
    ]:
        assert steps_per_block(rows, sizes, matmul) == block
    random = np.random.default_rng(0)
    layers = (LSTMParams(draw(random, 2, 16), draw(random, 4, 16), draw(random, 16)),)
    states, inputs = ((jnp.ones((3, 4)), jnp.ones((3, 4))),), StepInputs(draw(random, 5, 3, 2))
    monkeypatch.setattr(pallas_lstm, "steps_per_block", lambda *unused: 0)
    for _ in range(2):
        actual = PallasBackend.run(layers, states, inputs)
    chex.assert_trees_all_equal(actual, run_lstm(layers, states, inputs))
    (record,) = caplog.records
    assert "3 rows of 4 units are too large" in record.getMessage()
    with jax.enable_x64(True):
        assert not is_supported((LSTMParams(*(draw(random, 4, 16) for _ in range(3))),), 3, jnp.matmul)
