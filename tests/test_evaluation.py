"""A checkpoint of a run is found by its name, and what cannot be used gets one line."""

import dataclasses
import re

import chex
import jax
import pytest

from aux_rnn.checkpoints import CheckpointError, Checkpoints
from aux_rnn.config import Config, to_json
from aux_rnn.evaluation import load_run, restore_state
from aux_rnn.experiment import create_experiment
from aux_rnn.shapes import describe_shapes
from aux_rnn.steps import TrainState, create_train_state


@pytest.fixture
def state(tiny: Config) -> TrainState:
    """A state on the host, before the first step."""
    experiment = create_experiment(tiny)
    return jax.device_get(create_train_state(tiny, experiment.spec, experiment.plan))


def at(step: int, state: TrainState) -> TrainState:
    """A state that is told apart from that of another step."""
    return state.replace(step=state.step + step, params=jax.tree.map(lambda x: x + step, state.params))


def save(folder, steps, state):
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, at(step, state), {})
    checkpoints.wait()
    checkpoints.close()


@pytest.fixture
def path(tiny, state, tmp_path):
    """A run with the checkpoints 2, 4 and 6, and 3 as its best."""
    save(tmp_path / "checkpoints", (2, 4, 6), state)
    save(tmp_path / "best", (3,), state)
    (tmp_path / "config.json").write_text(to_json(tiny))
    return tmp_path


@pytest.mark.parametrize(("checkpoint", "step"), [("latest", 6), ("best", 3), ("3", 3), ("4", 4)])
def test_a_checkpoint_is_found_by_its_name(checkpoint, step, path, state):
    chex.assert_trees_all_equal(restore_state(path, state, checkpoint), at(step, state))


def test_a_run_is_loaded_with_its_own_settings_and_the_callers_data(path, state, tiny):
    experiment, loaded = load_run(path, tiny.data, checkpoint="best")
    assert experiment.config == tiny
    assert len(experiment.splits.test) == 360
    chex.assert_trees_all_equal(jax.device_get(loaded), at(3, state))


def failure(path, state, checkpoint):
    with pytest.raises(CheckpointError) as caught:
        restore_state(path, state, checkpoint)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_there_is_not_is_answered_with_what_there_is(path, state):
    found = "checkpoints 6, 4, 2 and, as its best, 3; name one of these steps, latest or best"
    assert failure(path, state, "5") == f"--checkpoint=5: {path} has {found}"
    (path / "best").rename(path / "moved")
    assert failure(path, state, "best") == (
        f"--checkpoint=best: {path} has checkpoints 6, 4, 2 and no best one, "
        "which is kept from the first evaluation of joint training on"
    )
    assert failure(path / "nowhere", state, "latest").endswith("nowhere has no checkpoint yet; train first")
    assert not (path / "best").exists()


@pytest.mark.parametrize("checkpoint", ["latest", "best", "4"])
def test_a_checkpoint_of_another_architecture_is_refused_with_both_shapes(checkpoint, path, tiny):
    for change, parts in (
        (dict(hidden_size=7), ("params/", " is [24] there, and [28] by the settings")),
        (dict(encoder="gru"), ("it has params/", "and there is none by the settings")),
        (dict(auxiliary="none"), ("it has params/decoders_predict/", "and there is none by the settings")),
    ):
        config = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, **change))
        experiment = create_experiment(config)
        line = failure(path, create_train_state(config, experiment.spec, experiment.plan), checkpoint)
        assert "of another architecture: " in line
        for part in parts:
            assert part in line
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == ["2", "4", "6"]


def test_a_damaged_checkpoint_is_refused_by_its_step_and_passed_over_otherwise(path, state):
    largest = max((path / "checkpoints/6/state").rglob("*"), key=lambda p: p.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[: len(content) // 2])
    assert re.search(r"checkpoints/6: cannot be used \(.+\); choose another --checkpoint", failure(path, state, "6"))
    chex.assert_trees_all_equal(restore_state(path, state, "latest"), at(4, state))
    assert (path / "checkpoints/6").is_dir(), "only looked at"


def test_what_has_another_shape_is_named_before_what_is_missing():
    found = {"opt/nu": [2], "params/a": [2], "params/b": [3]}
    assert describe_shapes(found, found) == ""
    assert describe_shapes(found, {**found, "params/b": [4], "params/0": [1]}) == (
        "params/b is [3] there, and [4] by the settings"
    )
    assert describe_shapes(found, {**found, "params/0": [1], "opt/nu": [1]}) == (
        "opt/nu is [2] there, and [1] by the settings"
    )
    assert describe_shapes(found, {**found, "params/0": [1]}) == "it has no params/0, which is [1] by the settings"
