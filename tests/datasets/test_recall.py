"""Recall: synthetic sequences of any length."""

import hashlib

import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import load_splits, sequence_spec, split_sizes
from aux_rnn.datasets.builtin import recall


def test_the_first_step_shows_the_class_and_the_rest_is_noise():
    splits = load_splits(DataConfig(dataset="recall", sequence_length=13, validation_fraction=0.0), seed=0)
    assert splits.train.inputs.shape == (10_000, 1, 13, 1)
    assert splits.test.inputs.shape == (1_000, 1, 13, 1)
    for part in (splits.train, splits.test):
        np.testing.assert_array_equal(part.inputs[:, 0, 0, 0], 28 * part.labels)
        assert np.bincount(part.labels).min() > 0.07 * len(part)
    noise = splits.train.inputs[:, 0, 1:, 0]
    # 120,000 values: each of 256 some 470 times, and not correlated with the class.
    assert np.bincount(noise.ravel(), minlength=256).min() > 350
    assert np.abs(np.corrcoef(noise.T, splits.train.labels)[-1, :-1]).max() < 0.05
    assert len({row.tobytes() for row in np.concatenate([noise, splits.test.inputs[:, 0, 1:, 0]])}) == 11_000


def test_sequences_never_change():
    # Written down once: results of different versions must be about the same sequences.
    digest = hashlib.sha256()
    for split in ("train", "test"):
        records = recall.read_split(split, DataConfig(dataset="recall", sequence_length=5))
        sequences, labels = records.read(range(len(records)))
        digest.update(np.stack(sequences).tobytes() + np.array(labels, "<i8").tobytes())
    assert digest.hexdigest() == "b2ab7403694ad13fa6ec2b33767d0c013c05170aa11aaf3e9ae2675e507dd6a1"


def test_sequences_are_generated_only_when_they_are_read():
    records = recall.read_split("test", DataConfig(dataset="recall", sequence_length=2**30))
    assert len(records) == 1_000
    assert sequence_spec(DataConfig(dataset="recall")) == SequenceSpec(64, 1, 10)
    assert sequence_spec(DataConfig(dataset="recall", sequence_length=10**6)).length == 10**6
    assert split_sizes(DataConfig(dataset="recall")).test == 1_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 1}, r"--sequence_length=1: must be at least 2 for recall \(0: 64\)"),
        ({"image_size": 8}, r"--image_size=8: must be 0 \(recall has no images"),
        ({"train_examples": 9_001, "validation_fraction": 0.1}, "--train_examples=9001: must be at most 9,000"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        split_sizes(DataConfig(dataset="recall", **settings))


def test_examples_that_do_not_fit_into_memory_are_refused_before_they_are_made():
    config = DataConfig(dataset="recall", sequence_length=2**31 - 1)
    with pytest.raises(ConfigError, match="--sequence_length=2147483647: must be smaller: 11,000 examples take 22,000"):
        load_splits(config, seed=0)
