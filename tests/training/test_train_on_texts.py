"""Texts through the whole training: padding changes nothing, runs resume."""

import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config.serialization import with_settings
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.training import steps as steps_lib
from aux_rnn.training.plan import Plan
from aux_rnn.training.train import train_and_evaluate

pytestmark = pytest.mark.usefixtures("shared_steps")
ROWS, LONGEST = 8, 12
LENGTHS = np.array([12, 1, 2, 5, 6, 11, 12, 3], np.int32)


@pytest.fixture(scope="module")
def tiny(tiny):
    """Returns texts of digits cut to 24 characters; segments are longer than some of the texts above."""
    settings = {"dataset": "digits_text", "image_size": 0, "sequence_length": 24, "auxiliary": "both"}
    return with_settings(tiny, **settings)


@pytest.fixture(scope="module")
def short(tiny):
    """Returns steps on the longest text and a state."""
    return make_steps(tiny, LONGEST)


def make_batch(length, filling=0):
    """The same eight texts on one device, padded to a length; what fills the padding should not matter."""
    random = np.random.default_rng(0)
    inputs = np.full((1, ROWS, length), filling, np.uint8)
    for row, own in zip(inputs[0], LENGTHS, strict=True):
        row[length - own :] = random.integers(0, 256, own)
    return dict(
        inputs=inputs,
        lengths=LENGTHS[None],
        labels=random.integers(0, 10, (1, ROWS)).astype(np.int32),
        mask=np.ones((1, ROWS), bool),
        rows=np.arange(ROWS, dtype=np.int32)[None],
    )


def make_steps(config, length):
    spec = SequenceSpec(length, 1, 10, 256)
    plan = Plan.of(config, steps_per_epoch=3)
    return steps_lib.make_steps(config, spec, plan), steps_lib.create_train_state(config, spec, plan)


@pytest.mark.slow
def test_more_padding_changes_no_loss_and_no_gradient(tiny, short):
    short, state = short
    long, same_state = make_steps(tiny, LONGEST + 7)
    chex.assert_trees_all_equal(state.params, same_state.params)
    batches = make_batch(LONGEST), make_batch(LONGEST + 7), make_batch(LONGEST + 7, filling=99)
    measured = [
        metrics_lib.compute(jax.device_get(steps.evaluate(state.params, batch)))
        for steps, batch in zip((short, long, long), batches, strict=True)
    ]
    kinds = ("reconstruct", "predict")
    ours = {f"{kind}_{name}" for kind in kinds for name in ("loss", "memory_gain", "memory_gain_zeroed")}
    assert set(measured[0]) == {"supervised_loss", "accuracy", *ours}
    assert all(np.isfinite(value) for value in measured[0].values())
    for other in measured[1:]:
        assert other == pytest.approx(measured[0], rel=1e-5, abs=1e-5)
    after = short.train(jax.tree.map(jnp.array, state), batches[0]), long.train(same_state, batches[1])
    chex.assert_trees_all_close(*(jax.device_get(s.params) for s in after), rtol=1e-4, atol=1e-6)


def test_every_text_counts_as_far_as_it_goes_and_filled_up_rows_do_not(short):
    steps, state = short
    batch = make_batch(LONGEST)
    measured = steps.evaluate(state.params, batch)
    assert measured["reconstruct_loss"].count == np.minimum(LENGTHS, 5).sum()
    assert measured["predict_loss"].count == np.minimum(LENGTHS - 1, 5).sum()
    batch["mask"][0, 5:] = False
    expected = jax.device_get(steps.evaluate(state.params, batch))
    batch["inputs"][0, 5:], batch["lengths"] = 0, np.where(batch["mask"], batch["lengths"], 0)
    chex.assert_trees_all_equal(jax.device_get(steps.evaluate(state.params, batch)), expected)


@pytest.mark.slow
def test_a_run_on_texts_resumes_where_it_stopped(tiny, quiet, tmp_path):
    whole = train_and_evaluate(tiny, tmp_path / "whole", quiet)
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    for step in (8, 9):
        shutil.rmtree(tmp_path / f"run/checkpoints/{step}")
    ended = train_and_evaluate(tiny, tmp_path / "run", quiet)
    assert ended["params_digest"] == whole["params_digest"]
    assert ended["results"] == whole["results"]
    # The loss of an even guess among 256 bytes is 5.5 nats.
    assert 0 < whole["results"]["test"]["reconstruct_loss"] < 6
