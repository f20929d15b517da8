"""The pmapped steps: layout, phases, single compilation, and what the state remembers."""

import chex
import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest

from aux_rnn.config.serialization import with_settings
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.inputs import Batch
from aux_rnn.model.layers import Dense
from aux_rnn.model.network import AuxiliaryRNN
from aux_rnn.model.objective import draw_all_segments
from aux_rnn.training import steps as steps_lib
from aux_rnn.training.optimizer import make_learning_rate
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import replicate

SPEC = SequenceSpec(length=16, channels=1, num_classes=10)


def make_batch(seed, devices=4, rows=8):
    random = np.random.default_rng(seed)
    batch = dict(
        inputs=random.integers(0, 256, (rows, 4, 4, 1), np.uint8),
        labels=random.integers(0, 10, rows, np.int32),
        mask=np.ones(rows, bool),
        rows=np.arange(rows, dtype=np.int32),
    )
    return {name: x.reshape(devices, -1, *x.shape[1:]) for name, x in batch.items()}


PLAN = Plan(3, pretrain_steps=3, train_steps=6, log_every=2, evaluate_every=3, checkpoint_every=2)


@pytest.fixture(scope="module")
def tiny(tiny):
    return with_settings(tiny, auxiliary="both", num_anchors=2, auxiliary_weight=0.25)


@pytest.fixture(scope="module")
def state(tiny):
    """Returns the first state, on the host, so that no step reuses its memory."""
    return jax.device_get(steps_lib.create_train_state(tiny, SPEC, PLAN))


@pytest.fixture(scope="module")
def compiled(tiny, state):
    """Returns the steps for four devices, and how often three calls of each have applied the model."""
    steps, counts, applied = steps_lib.make_steps(tiny, SPEC, PLAN), [], []
    apply, batch, state = AuxiliaryRNN.apply, make_batch(0), replicate(state)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AuxiliaryRNN, "apply", lambda *args, **kwargs: applied.append(1) or apply(*args, **kwargs))
        for step in (steps.pretrain, steps.train):
            for _ in range(3):
                state = step(state, batch)
            counts.append(len(applied))
        for _ in range(3):
            steps.evaluate(state.params, batch)
    return steps, [*counts, len(applied)]


@pytest.fixture(scope="module")
def steps(compiled):
    return compiled[0]


@pytest.fixture(scope="module")
def steps_on_one(tiny):
    """Returns the steps for one device."""
    return steps_lib.make_steps(tiny, SPEC, PLAN)


def test_each_step_is_traced_once(compiled):
    """An evaluation applies the encoder and the classifier once, and each of two decoders to three states."""
    assert compiled[1] == [1, 2, 2 + 2 + 2 * 3]


def test_four_devices_equal_one(steps, steps_on_one, state):
    one = steps_on_one.train(jax.device_put(state), make_batch(0, devices=1))
    four = steps.train(replicate(state), make_batch(0, devices=4))
    chex.assert_trees_all_close(jax.device_get(one), jax.device_get(four), rtol=1e-5, atol=1e-6)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (one.params, state.params)), strict=True))


def test_evaluation_on_four_devices_equals_one_and_ignores_filled_up_rows(steps, steps_on_one, state):
    batch = make_batch(1, devices=1)
    batch["mask"][0, 5:] = False
    one = steps_on_one.evaluate(state.params, batch)
    divided = {k: x.reshape(4, 2, *x.shape[2:]) for k, x in batch.items()}
    four = steps.evaluate(replicate(state.params), divided)
    chex.assert_trees_all_close(jax.device_get(one), jax.device_get(four), rtol=1e-5, atol=1e-4)
    assert one["accuracy"].count == 5
    assert one["reconstruct_loss"].count == 5 * 2 * 5
    # Whatever the rows beyond the mask hold changes nothing.
    batch["inputs"][0, 5:] = 255 - batch["inputs"][0, 5:]
    chex.assert_trees_all_equal(jax.device_get(one), jax.device_get(steps_on_one.evaluate(state.params, batch)))


def test_texts_count_as_far_as_they_go_and_filled_up_rows_do_not(tiny):
    """Segments of five elements are longer than some of the texts."""
    config, lengths = with_settings(tiny, num_anchors=1), np.array([12, 1, 2, 5, 6, 11, 12, 3], np.int32)
    spec = SequenceSpec(length=12, channels=1, num_classes=10, vocabulary_size=256)
    steps = steps_lib.make_steps(config, spec, PLAN)
    params = steps_lib.create_train_state(config, spec, PLAN).params
    batch = make_batch(0, devices=1) | dict(lengths=lengths[None])
    batch["inputs"] = np.random.default_rng(0).integers(0, 256, (1, 8, 12), np.uint8)
    measured = steps.evaluate(params, batch)
    assert measured["reconstruct_loss"].count == np.minimum(lengths, 5).sum()
    assert measured["predict_loss"].count == np.minimum(lengths - 1, 5).sum()
    batch["mask"][0, 5:] = False
    expected = jax.device_get(steps.evaluate(params, batch))
    batch["inputs"][0, 5:], batch["lengths"] = 0, np.where(batch["mask"], batch["lengths"], 0)
    chex.assert_trees_all_equal(jax.device_get(steps.evaluate(params, batch)), expected)


def test_metrics_add_up_between_records_and_restart_after_each(steps, state):
    state = replicate(state)
    counts = []
    for number in range(5):
        state = getattr(steps, PLAN.phase(number))(state, make_batch(number))
        counts.append((int(state.metrics["loss"].count), int(state.metrics["accuracy"].count)))
    # Records are due after 2, 3 (the end of pretraining) and 4 steps.
    assert counts == [(1, 0), (2, 0), (1, 0), (1, 8), (1, 8)]
    assert int(state.step) == 5


def test_the_loss_is_the_weighted_sum_of_its_terms(steps, state):
    values = metrics_lib.compute(steps.train(replicate(state), make_batch(0)).metrics)
    auxiliary = values["reconstruct_loss"] + values["predict_loss"]
    assert values["loss"] == pytest.approx(values["supervised_loss"] + 0.25 * auxiliary, rel=1e-6)


def test_pretraining_leaves_the_classifier_alone(steps, state):
    before, after = state.params, jax.device_get(steps.pretrain(replicate(state), make_batch(0)).params)
    chex.assert_trees_all_equal(before["head"], after["head"])
    for part in ("encoder", "decoders_reconstruct", "decoders_predict"):
        leaves = zip(*map(jax.tree.leaves, (before[part], after[part])), strict=True)
        assert any((a != b).any() for a, b in leaves), part


def lower(config, name, batch):
    """Returns the text of a step's program."""
    state = steps_lib.empty_train_state(config, SPEC, PLAN)
    step = getattr(steps_lib.make_steps(config, SPEC, PLAN), name)
    return step.lower(state if name == "train" else state.params, batch).as_text()


def test_dropconnect_acts_in_training_only_and_the_seed_is_no_constant_of_the_program(tiny):
    plain, dropped, seeded = (
        with_settings(tiny, auxiliary="none", **changes) for changes in ({}, dict(dropconnect=0.5), dict(seed=1))
    )
    batch = make_batch(0, devices=1)
    assert lower(plain, "evaluate", batch) == lower(dropped, "evaluate", batch)
    trains = [lower(config, "train", batch) for config in (plain, dropped, seeded)]
    assert trains[0] == trains[2] != trains[1]


def test_dropconnect_drops_weights_and_scales_those_that_remain():
    layer, inputs = Dense(64, dropconnect=0.25), jnp.eye(32)
    variables = layer.init(jax.random.key(0), inputs, deterministic=True)
    kernel = layer.apply(variables, inputs, deterministic=True)
    dropped = layer.apply(variables, inputs, deterministic=False, rngs={"dropconnect": jax.random.key(1)})
    assert np.mean(dropped == 0) == pytest.approx(0.25, abs=0.05)
    np.testing.assert_allclose(dropped, np.where(dropped == 0, 0, kernel / 0.75), rtol=1e-6)


def test_the_learning_rate_is_halved_at_30_60_and_90_percent_of_the_joint_training(tiny):
    plan = Plan(10, pretrain_steps=50, train_steps=100, log_every=1, evaluate_every=1, checkpoint_every=1)
    rate = make_learning_rate(tiny.optimizer, plan)
    base = tiny.optimizer.learning_rate
    expected = {0: 1, 50: 1, 79: 1, 80: 0.5, 109: 0.5, 110: 0.25, 139: 0.25, 140: 0.125, 149: 0.125}
    for step, factor in expected.items():
        assert float(rate(step)) == pytest.approx(base * factor), step


def test_memory_gain_equals_that_of_the_naive_method(tiny, steps, state):
    """Compares three examples on four devices; the other rows only fill the batch."""
    batch = make_batch(2)
    batch["mask"].reshape(-1)[3:] = False
    measured = metrics_lib.compute(steps.evaluate(replicate(state.params), batch))
    model, params = tiny.model, state.params
    rows = jnp.arange(3)
    sequences = jnp.asarray(batch["inputs"].reshape(8, 16, 1)[:3] / 255, jnp.float32)
    for kind, segments in draw_all_segments(model, jax.random.key(0), Batch(sequences, None, rows, rows >= 0)).items():
        errors = {"true": [], "zeroed": [], "other": []}
        states = [
            [naive.window(model, params["encoder"], sequence, 16, int(a), "full") for a in anchors]
            for sequence, anchors in zip(sequences, segments.anchors, strict=True)
        ]
        for example, anchor in np.ndindex(3, 2):
            origins = {"true": states[example][anchor], "other": states[(example + 1) % 3][anchor]}
            origins["zeroed"] = naive.zero_state("lstm", model.hidden_size, sequences)
            previous, targets = segments.inputs[example, anchor], segments.targets[example, anchor]
            for name, origin in origins.items():
                outputs = naive.decode(model, params[f"decoders_{kind}"], origin, previous, model.segment_length)
                errors[name] += [naive.target_error(model, *pair) for pair in zip(outputs, targets, strict=True)]
        means = {name: float(np.mean(each)) for name, each in errors.items()}
        assert measured[f"{kind}_loss"] == pytest.approx(means["true"], rel=1e-5)
        assert measured[f"{kind}_memory_gain"] == pytest.approx(means["other"] - means["true"], abs=1e-6)
        assert measured[f"{kind}_memory_gain_zeroed"] == pytest.approx(means["zeroed"] - means["true"], abs=1e-6)


@pytest.mark.slow
def test_the_transformer_learns_by_the_same_steps(tiny):
    settings = dict(encoder="transformer", transformer_layers=1, transformer_size=8, transformer_heads=2)
    config = with_settings(tiny, **settings, auxiliary="none", optimizer="adam", learning_rate=0.01)
    plan = Plan.of(config, steps_per_epoch=100)
    steps = steps_lib.make_steps(config, SPEC, plan)
    state = steps_lib.create_train_state(config, SPEC, plan)
    batch = make_batch(0, devices=1)
    before = metrics_lib.compute(steps.evaluate(state.params, batch))
    for _ in range(100):
        state = steps.train(state, batch)
    after = metrics_lib.compute(steps.evaluate(state.params, batch))
    assert after["supervised_loss"] < before["supervised_loss"] / 2
    assert set(after) == {"supervised_loss", "accuracy"}
