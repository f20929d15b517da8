"""Losses and metrics against values worked out by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.losses import auxiliary_loss, supervised_loss
from aux_rnn.model.metrics import Mean
from aux_rnn.model.segments import Segments


def make_segments(targets, mask):
    targets = jnp.asarray(targets)
    return Segments(jnp.zeros(targets.shape[:2], jnp.int32), jnp.zeros_like(targets), targets, jnp.asarray(mask))


def test_cross_entropy_of_rows_that_count():
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.2, 0.6]]))
    loss = supervised_loss(logits, jnp.array([0, 2, 1]), jnp.array([True, True, False]))
    assert float(loss.compute()) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)
    assert float(loss.count) == 2


def test_squared_error_is_a_mean_over_channels_and_targets():
    targets = [[[[0.0, 1.0], [1.0, 1.0]]], [[[0.5, 0.5], [9.0, 9.0]]]]
    outputs = jnp.array([[[[1.0, 1.0], [1.0, 0.0]]], [[[0.5, 0.0], [0.0, 0.0]]]])
    segments = make_segments(targets, [[[True, True]], [[True, False]]])
    loss = auxiliary_loss(outputs, segments, jnp.array([True, True]))
    # (1 + 0)/2, (0 + 1)/2 and (0 + 0.25)/2 over three targets; the fourth is masked.
    assert float(loss.compute()) == pytest.approx((0.5 + 0.5 + 0.125) / 3)
    assert float(auxiliary_loss(outputs, segments, jnp.array([False, True])).compute()) == pytest.approx(0.125)


def test_metrics_merge_by_counts():
    first = {"accuracy": Mean.of(jnp.array([True, True, False]), jnp.ones(3, bool)), "loss": Mean.empty()}
    second = {"accuracy": Mean.of(jnp.array([False, True]), jnp.array([True, False])), "loss": Mean.empty()}
    merged = metrics_lib.merge(first, second)
    # Two of four; a mean that is empty is left out, not reported as 0.
    assert metrics_lib.compute(merged) == {"accuracy": pytest.approx(0.5)}


def test_a_value_that_does_not_count_may_even_be_infinite():
    assert float(Mean.of(jnp.array([1.0, jnp.inf]), jnp.array([True, False])).compute()) == 1.0
    gradient = jax.grad(lambda x: Mean.of(1 / x, jnp.array([True, False])).compute())(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(gradient, [-1, 0])
