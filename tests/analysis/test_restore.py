"""A checkpoint of a run is found by its name, and one that cannot be used is refused in one line."""

import chex
import jax
import pytest
from properties import refused
from written_run import at, write_checkpoints

from aux_rnn.analysis.evaluate import evaluate_run
from aux_rnn.analysis.restore import load_run, restore_state
from aux_rnn.config.serialization import with_settings
from aux_rnn.config.settings import Config
from aux_rnn.storage.checkpoints import CheckpointError
from aux_rnn.storage.workdir import WorkdirError
from aux_rnn.training.experiment import create_experiment
from aux_rnn.training.steps import TrainState, create_train_state

pytestmark = pytest.mark.usefixtures("shared_steps")


def make_state(config: Config) -> TrainState:
    """Returns a state on the host, before the first step."""
    experiment = create_experiment(config)
    return jax.device_get(create_train_state(config, experiment.spec, experiment.plan))


@pytest.fixture(scope="module")
def state(tiny: Config, shared_steps: None) -> TrainState:
    return make_state(tiny)


@pytest.fixture(scope="module")
def saved(tiny, state, tmp_path_factory):
    """Returns the folder of a run with checkpoints 2, 4, 6, 8, of which 2 is the best; no test writes there."""
    return write_checkpoints(tmp_path_factory.mktemp("saved"), tiny, state, (2, 4, 6, 8), best=2)


@pytest.mark.parametrize(("checkpoint", "step"), [("latest", 8), ("best", 2), ("2", 2), ("4", 4)])
def test_a_checkpoint_is_loaded_by_its_name_with_the_settings_of_the_run(checkpoint, step, saved, state, tiny):
    experiment, loaded = load_run(saved, tiny.data, checkpoint=checkpoint)
    assert experiment.config == tiny
    chex.assert_trees_all_equal(jax.device_get(loaded), at(step, state))


def test_a_checkpoint_of_the_pretraining_has_no_accuracy(saved, tiny):
    results = {step: evaluate_run(saved, tiny.data, checkpoint=step)["results"]["test"] for step in ("2", "8")}
    assert {"accuracy", "supervised_loss"} <= set(results["8"])
    assert set(results["2"]) == set(results["8"]) - {"accuracy", "supervised_loss"}


@pytest.mark.parametrize(
    ("meta", "message"),
    [({"data": "0123456789ab"}, "different ones"), ({"examples": {"train": 3, "validation": 1, "test": 2}}, "now: ")],
)
def test_a_run_on_data_that_changed_is_refused(tiny, state, tmp_path, meta, message):
    write_checkpoints(tmp_path, tiny, state, [2], **meta)
    with pytest.raises(WorkdirError, match=f"holds a run on other data .*{message}"):
        load_run(tmp_path, tiny.data)


def test_a_missing_checkpoint_is_answered_with_those_that_exist(saved, state, tiny, tmp_path):
    with refused(CheckpointError, f"checkpoint=5: {saved} has checkpoints 8, 6, 4, 2; name another step"):
        restore_state(saved, state, "5")
    early, nowhere = write_checkpoints(tmp_path / "early", tiny, state, [2]), tmp_path / "nowhere"
    with refused(CheckpointError, "early has checkpoints 2 and no best one, which is kept from"):
        restore_state(early, state, "best")
    with refused(CheckpointError, "nowhere has no checkpoint yet; train first"):
        restore_state(nowhere, state, "latest")
    assert not nowhere.exists()


@pytest.mark.parametrize(
    ("checkpoint", "change", "found"),
    [
        ("latest", dict(encoder="gru"), "and there is none by the settings"),
        ("best", dict(hidden_size=7), " there, and [7, 5] by the settings"),
        ("4", dict(auxiliary="none"), "params/decoders_reconstruct/"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_both_shapes(checkpoint, change, found, saved, tiny):
    with refused(CheckpointError, "of another architecture: ", "params/", found):
        restore_state(saved, make_state(with_settings(tiny, **change)), checkpoint)
    assert sorted(p.name for p in (saved / "checkpoints").iterdir()) == ["2", "4", "6", "8"]
