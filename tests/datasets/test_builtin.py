"""Data sets by name, shrinking, splitting, and the data sets that need no files."""

import hashlib
import sys
import tracemalloc

import numpy as np
import pytest
from faulty import run

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import SplitSizes, find_dataset, load_splits, loading, sequence_spec, split_sizes
from aux_rnn.datasets.builtin import recall
from aux_rnn.datasets.dataset import OpenedDataset, Records
from aux_rnn.datasets.forms import crop_and_shrink
from aux_rnn.datasets.loading import split_rows

# Registry.


@pytest.mark.parametrize(
    ("settings", "spec", "sizes"),
    [
        (dict(dataset="digits"), SequenceSpec(64, 1, 10), (1_293, 144, 360)),
        (dict(dataset="mnist"), SequenceSpec(784, 1, 10), (54_000, 6_000, 10_000)),
        (dict(dataset="pmnist", image_size=14), SequenceSpec(196, 1, 10), (54_000, 6_000, 10_000)),
        (dict(dataset="cifar10", validation_fraction=0.0), SequenceSpec(1024, 3, 10), (50_000, 0, 10_000)),
        (dict(dataset="stanford_dogs", train_examples=99), SequenceSpec(16384, 3, 120), (99, 1_200, 8_580)),
        (dict(dataset="dbpedia"), SequenceSpec(1014, 1, 14, 256), (504_000, 56_000, 70_000)),
        (dict(dataset="dbpedia", sequence_length=99, allow_partial=True), SequenceSpec(99, 1, 14, 256), None),
        (dict(dataset="digits_text"), SequenceSpec(64, 1, 10, 256), (1_293, 144, 360)),
        (dict(dataset="recall", sequence_length=10**6), SequenceSpec(10**6, 1, 10), (9_000, 1_000, 1_000)),
    ],
)
def test_sequences_and_sizes_are_known_without_data(settings, spec, sizes):
    config = DataConfig(**settings)
    assert sequence_spec(config) == spec
    assert split_sizes(config) == (sizes and SplitSizes(*sizes))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(dataset="svhn"), "svhn: must be one of .*mnist, pmnist, recall, stanford_dogs, tfds:NAME or file:PATH"),
        (dict(dataset="digits", image_size=9), "image_size=9: must be at most 8"),
        (dict(dataset="mnist", train_examples=54_001), "train_examples=54001: must be at most 54,000"),
        (dict(dataset="mnist", sequence_length=9), r"sequence_length=9: must be 0 \(the sequences of mnist"),
        (dict(dataset="digits", validation_fraction=0.9999), r"validation_fraction=0.9999: must be small"),
        (dict(dataset="digits", padding="left"), r"padding=left: must be auto \(only the arrays of file:PATH"),
        (dict(dataset="dbpedia", sequence_length=1015), "=1015: must be at most 1,014, the bytes of the longest text"),
        (dict(dataset="dbpedia", image_size=8), r"image_size=8: must be 0 \(dbpedia has no images"),
        (dict(dataset="recall", sequence_length=1), r"sequence_length=1: must be at least 2 for recall \(0: 64\)"),
    ],
)
def test_settings_that_do_not_fit_are_refused_without_data(settings, message):
    with pytest.raises(ConfigError, match=message):
        split_sizes(DataConfig(**settings))


def test_digits_need_neither_tensorflow_nor_tfds_nor_scikit_learn():
    code = (
        "import sys; from aux_rnn.config.settings import DataConfig; from aux_rnn.datasets import load_splits; "
        "load_splits(DataConfig(dataset='digits'), seed=0); "
        "print({'tensorflow', 'tensorflow_datasets', 'sklearn', 'grain'} & set(sys.modules))"
    )
    assert run([sys.executable, "-c", code]).out.strip() == "set()"


# Shrinking.


@pytest.mark.parametrize(("old", "new"), [(28, 14), (24, 4), (6, 1), (2, 1), (28, 13), (3, 2), (8, 7)])
def test_cropping_and_shrinking_equal_enlarging_the_middle_then_block_means(old, new):
    wide = np.random.default_rng(new).integers(0, 256, (3, old, old + 3, 2), np.uint8)
    wide[0] = 255
    images = wide[:, :, 1:-2]  # the square in the middle
    sums = images.repeat(new, axis=1).repeat(new, axis=2).reshape(3, new, old, new, old, 2).astype(np.int64).sum((2, 4))
    np.testing.assert_array_equal(crop_and_shrink(wide, new), (2 * sums + old**2) // (2 * old**2))
    assert np.shares_memory(crop_and_shrink(images, old), images)


# Splitting.


def test_rows_are_divided_completely_and_by_seed():
    train, validation = split_rows(1000, 100, seed=3)
    assert (len(train), len(validation)) == (900, 100)
    assert sorted([*train, *validation]) == list(range(1000))
    assert set(validation) != set(split_rows(1000, 100, seed=4)[1])
    assert len(split_rows(10, 0, seed=0)[1]) == 0
    # Written down once: runs of different versions must hold out the same examples.
    rest, held_out = split_rows(10, 3, seed=0)
    assert [*held_out, *rest] == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]


# Digits, from scikit-learn to arrays.


def digits(**settings):
    return load_splits(DataConfig(dataset="digits", **settings), seed=5)


def test_digits_end_to_end():
    from sklearn.datasets import load_digits

    splits = digits()
    parts = (splits.train, splits.validation, splits.test)
    assert [part.inputs.shape for part in parts] == [(n, 8, 8, 1) for n in (1293, 144, 360)]
    assert (splits.train.inputs.dtype, splits.train.labels.dtype) == (np.uint8, np.int32)
    assert (splits.test.inputs.min(), splits.test.inputs.max()) == (0, 255)
    images, labels = load_digits(return_X_y=True)
    train_rows, validation_rows = split_rows(1437, 144, seed=5)
    places = (np.sort(train_rows), np.sort(validation_rows), np.arange(1437, 1797))
    for part, rows in zip(parts, places, strict=True):
        np.testing.assert_array_equal(part.labels, labels[rows])
        # 255 / 16 is a little less than 16: no grey value of the scaled image is more than one step of rounding away.
        scaled = (images[rows] * 16).clip(0, 255).reshape(-1, 8, 8, 1) * (255 / 256)
        assert np.abs(part.inputs - scaled).max() <= 1.0
    whole = digits(validation_fraction=0.0)
    assert (whole.train.inputs.shape, whole.validation.inputs.shape) == ((1437, 8, 8, 1), (0, 8, 8, 1))


def test_capped_examples_are_a_part_of_all_and_validation_stays():
    everything = digits()
    capped = digits(train_examples=100, image_size=4)
    assert capped.train.inputs.shape == (100, 4, 4, 1)
    whole = {image.tobytes() for image in crop_and_shrink(everything.train.inputs, 4)}
    assert {image.tobytes() for image in capped.train.inputs} <= whole
    np.testing.assert_array_equal(capped.validation.labels, everything.validation.labels)
    np.testing.assert_array_equal(capped.test.inputs, crop_and_shrink(everything.test.inputs, 4))


def test_reading_holds_only_a_piece_at_full_size(monkeypatch):
    def read(rows):
        return [np.full((32, 32, 3), row % 256, np.uint8) for row in rows], [row % 10 for row in rows]

    config = DataConfig(dataset="cifar10", image_size=2)
    records, opened = Records(1_000, read), OpenedDataset([], read)
    monkeypatch.setattr(loading, "PIECE_ROWS", 10)
    tracemalloc.start()
    examples = loading.read_examples(records, np.arange(1000), find_dataset(config), opened, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(examples.inputs[:, 1, 1, 2], np.arange(1000) % 256)
    np.testing.assert_array_equal(examples.labels, np.arange(1000) % 10)
    assert peak < 1_000_000, "1,000 images take 3 MB"


# Recall, which is generated.


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
