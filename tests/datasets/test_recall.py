"""Recall: synthetic sequences of any length."""

import hashlib

import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import load_splits
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


def test_sequences_are_generated_only_when_they_are_read_and_refused_where_they_do_not_fit_into_memory():
    records = recall.read_split("test", DataConfig(dataset="recall", sequence_length=2**30))
    assert len(records) == 1_000
    config = DataConfig(dataset="recall", sequence_length=2**31 - 1)
    with pytest.raises(ConfigError, match="--sequence_length=2147483647: must be smaller: 11,000 examples take 22,000"):
        load_splits(config, seed=0)
