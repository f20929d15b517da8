"""Predictions of a whole split: every example once, scores computed by hand, and the figure of them."""

import dataclasses
import itertools
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from written_run import write_checkpoints

from aux_rnn.analysis.predict import Predictions, predict_run, save_predictions
from aux_rnn.analysis.restore import load_run
from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import to_json, with_settings
from aux_rnn.datasets import load_splits
from aux_rnn.distributed import SINGLE_PROCESS
from aux_rnn.plots.confusion import draw_confusion
from aux_rnn.storage.workdir import StorageError
from aux_rnn.training.evaluation import evaluate_split
from aux_rnn.training.experiment import create_experiment
from aux_rnn.training.steps import create_train_state

pytestmark = pytest.mark.usefixtures("shared_steps")

# Of class a 2 of 3 are right, of b 1 of 2, c is never met and predicted once, d neither.
LOGITS, LABELS = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]], np.array([0, 0, 0, 1, 1], np.int32)
BY_HAND = Predictions("toys", "test", 1234, LOGITS, LABELS, ids=np.arange(5), classes=["a", "b", "c", "d"])


@pytest.fixture(scope="module")
def run(tiny, shared_steps, tmp_path_factory):
    """Returns the folder of a run without training, in batches of 16, which do not divide 360 and 144 examples."""
    config = with_settings(tiny, auxiliary="none", batch_size=16)
    experiment = create_experiment(config)
    state = create_train_state(config, experiment.spec, experiment.plan)
    return write_checkpoints(tmp_path_factory.mktemp("run"), config, state, [1])


def test_every_example_of_a_split_is_predicted_once_as_the_evaluation_counts_it(run, tiny):
    found = predict_run(run, tiny.data, "test")
    experiment, state = load_run(run, tiny.data)
    assert found.logits.shape == (360, 10)
    assert found.logits.dtype == np.float32
    np.testing.assert_array_equal(found.labels, experiment.splits.test.labels)
    accuracy = evaluate_split(experiment, "test", state, SINGLE_PROCESS)["accuracy"]
    assert np.mean(found.logits.argmax(-1) == found.labels) == pytest.approx(accuracy)
    assert found.classes == [str(digit) for digit in range(10)]


def test_ids_are_places_in_the_stored_split(run, tiny):
    splits = load_splits(tiny.data, tiny.run.seed)
    found = predict_run(run, tiny.data, "validation")
    np.testing.assert_array_equal(found.ids, splits.validation.ids)
    assert len(found.ids) == 144
    assert not set(found.ids) & set(splits.train.ids)
    assert max(found.ids) < 1437
    stored = load_splits(dataclasses.replace(tiny.data, validation_fraction=0.0, train_examples=0), 0).train
    np.testing.assert_array_equal(stored.ids, np.arange(1437))
    np.testing.assert_array_equal(stored.inputs[found.ids], splits.validation.inputs)
    np.testing.assert_array_equal(stored.labels[found.ids], found.labels)


def test_an_empty_split_is_refused(run, tiny, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = with_settings(tiny, auxiliary="none", validation_fraction=0.0)
    (tmp_path / "run/config.json").write_text(to_json(config))
    with pytest.raises(ConfigError, match="split=validation: must be train or test"):
        predict_run(tmp_path / "run", tiny.data, "validation")


def test_scores_and_confusion_computed_by_hand():
    assert BY_HAND.confusion().tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    rows = {row[0]: row[1:] for row in map(str.split, BY_HAND.report().splitlines()) if row}
    assert rows["a"] == ["1.000", "0.667", "0.800", "3"]
    assert rows["b"] == ["0.500", "0.500", "0.500", "2"]
    assert rows["c"] == ["0.000", "nan", "0.000", "0"]
    assert rows["d"][:2] == ["nan", "nan"]
    assert rows["accuracy"] == ["0.600", "5"]
    long = dataclasses.replace(BY_HAND, classes=[letter * 50 for letter in "abcd"])
    assert max(map(len, long.report().splitlines())) <= 80


def test_what_is_saved_can_be_read_again(tmp_path):
    assert save_predictions(tmp_path, BY_HAND) == ["predictions-test.npz", "plots/confusion-test.png"]
    with np.load(tmp_path / "predictions-test.npz") as found:  # without pickle
        assert sorted(found) == ["classes", "ids", "labels", "logits", "step"]
        np.testing.assert_array_equal(found["logits"], BY_HAND.logits)
        assert found["classes"].tolist() == BY_HAND.classes
        assert found["step"] == 1234
    assert imread(tmp_path / "plots/confusion-test.png").ndim == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plots", "predictions-test.npz"]


@pytest.mark.parametrize("module", [None, SimpleNamespace(draw_confusion=None)], ids=["no module", "no figure"])
def test_predictions_are_saved_even_if_matplotlib_cannot_be_imported_or_draw(module, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "aux_rnn.plots.confusion", module)
    assert save_predictions(tmp_path, BY_HAND) == ["predictions-test.npz"]


def test_a_folder_that_cannot_be_written_gets_one_line(tmp_path):
    (tmp_path / "plots").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot be written \(File exists\)"):
        save_predictions(tmp_path, BY_HAND)


@pytest.mark.parametrize("size", [2, 60])
def test_class_names_do_not_overlap_in_the_figure(size):
    counts = np.diag(np.arange(size))
    figure = draw_confusion(counts, [f"class with a longish name {k}" for k in range(size)], "toys")
    figure.draw_without_rendering()
    panel = figure.axes[0]
    rows, columns = (
        [label.get_window_extent() for label in labels] for labels in (panel.get_yticklabels(), panel.get_xticklabels())
    )
    assert all(above.y0 >= below.y1 for above, below in itertools.pairwise(rows))
    assert all(left.x1 <= right.x0 for left, right in itertools.pairwise(columns))
    assert min(box.x0 for box in rows) >= 0
    assert min(box.y0 for box in columns) >= 0
