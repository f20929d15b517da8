"""Recall: synthetic sequences of any length."""

import hashlib

import numpy as np
import pytest

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import find_dataset, load_splits, prepare, recall, sequence_spec, split_sizes
from aux_rnn.settings import ConfigError


def recall_config(tmp_path, **settings):
    return DataConfig(**{"dataset": "recall", "data_dir": str(tmp_path), "validation_fraction": 0.0, **settings})


def test_the_first_step_shows_the_class_and_the_rest_is_noise(tmp_path):
    splits = load_splits(recall_config(tmp_path, sequence_length=13), seed=0)
    assert splits.train.inputs.shape == (10_000, 1, 13, 1)
    assert splits.test.inputs.shape == (1_000, 1, 13, 1)
    for part in (splits.train, splits.test):
        np.testing.assert_array_equal(part.inputs[:, 0, 0, 0], 28 * part.labels)
        assert np.bincount(part.labels).min() > 0.07 * len(part)
    noise = splits.train.inputs[:, 0, 1:, 0]
    # 120,000 values: each of 256 some 470 times, and nothing in them about the class.
    assert np.bincount(noise.ravel(), minlength=256).min() > 350
    assert np.abs(np.corrcoef(noise.T, splits.train.labels)[-1, :-1]).max() < 0.05
    assert len({row.tobytes() for row in np.concatenate([noise, splits.test.inputs[:, 0, 1:, 0]])}) == 11_000


def test_sequences_never_change(tmp_path):
    # Written down once: results of different versions must be about the same sequences.
    builder = recall.SequentialRecall(config="length_5", data_dir=tmp_path)
    digest = hashlib.sha256()
    for split in ("train", "test"):
        for sequences, labels in builder.read_split(split):
            digest.update(sequences.tobytes() + labels.astype("<i8").tobytes())
    assert digest.hexdigest() == "b2ab7403694ad13fa6ec2b33767d0c013c05170aa11aaf3e9ae2675e507dd6a1"


def test_pieces_do_not_matter(tmp_path, monkeypatch):
    builder = recall.SequentialRecall(config="length_9", data_dir=tmp_path)
    ((whole, labels),) = builder.read_split("test")
    monkeypatch.setattr(recall, "PIECE_BYTES", 16 * 300)
    pieces = list(builder.read_split("test"))
    assert [len(piece) for piece, _ in pieces] == [300, 300, 300, 100]
    np.testing.assert_array_equal(np.concatenate([piece for piece, _ in pieces]), whole)
    np.testing.assert_array_equal(np.concatenate([piece for _, piece in pieces]), labels)


def test_every_length_is_prepared_apart_without_a_word(tmp_path, capfd):
    folders = [prepare(recall_config(tmp_path, sequence_length=length)).data_dir for length in (2, 3)]
    assert [folder.removeprefix(str(tmp_path)) for folder in folders] == [
        "/sequential_recall/length_2/1.0.0",
        "/sequential_recall/length_3/1.0.0",
    ]
    assert capfd.readouterr() == ("", "")


def test_lengths_are_known_without_data():
    assert sequence_spec(DataConfig(dataset="recall")) == SequenceSpec(64, 1, 10)
    assert sequence_spec(DataConfig(dataset="recall", sequence_length=10**6)).length == 10**6
    assert split_sizes(DataConfig(dataset="recall")).test == 1_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 1}, r"--sequence_length=1: must be at least 2 for recall \(0: 64\)"),
        ({"image_size": 8}, r"--image_size=8: must be 0 \(recall has no images; see --sequence_length\)"),
        ({"train_examples": 9_001, "validation_fraction": 0.1}, "--train_examples=9001: must be at most 9,000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        split_sizes(DataConfig(dataset="recall", **settings))


def test_names_of_configurations_are_checked(tmp_path):
    assert recall.SequentialRecall(data_dir=tmp_path).builder_config.length == 64
    for name in ("length_1", "length_x", "short"):
        with pytest.raises(ValueError, match=f"{name}: must be length_N with N of at least 2"):
            recall.SequentialRecall(config=name, data_dir=tmp_path)
    assert find_dataset(DataConfig(dataset="recall")).num_classes == 10
