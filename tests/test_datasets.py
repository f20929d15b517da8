"""Data sets by name, preparing and loading them, shrinking, splitting."""

import dataclasses
import os
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import (
    DATASETS,
    DataError,
    Examples,
    SplitSizes,
    find_dataset,
    load_splits,
    loading,
    locating,
    prepare,
    preparing,
    sequence_spec,
    split_sizes,
)
from aux_rnn.datasets.loading import divide_rows
from aux_rnn.datasets.readers import ImageReader
from aux_rnn.datasets.shrinking import overlap_matrix, shrink_images
from aux_rnn.datasets.specs import ImageDataset
from aux_rnn.settings import ConfigError

# Registry.


@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [
        ("digits", 0, SequenceSpec(64, 1, 10)),
        ("mnist", 0, SequenceSpec(784, 1, 10)),
        ("pmnist", 14, SequenceSpec(196, 1, 10)),
        ("cifar10", 0, SequenceSpec(1024, 3, 10)),
        ("cifar10", 32, SequenceSpec(1024, 3, 10)),
        ("cifar10", 1, SequenceSpec(1, 3, 10)),
    ],
)
def test_sequences_are_known_without_data(name, image_size, expected):
    assert sequence_spec(DataConfig(dataset=name, image_size=image_size)) == expected


def test_only_pmnist_is_permuted_and_it_shares_the_data_of_mnist():
    assert [name for name, spec in DATASETS.items() if spec.permuted] == ["pmnist"]
    assert DATASETS["pmnist"].builder is DATASETS["mnist"].builder


def test_specs_agree_with_the_builders():
    for spec in DATASETS.values():
        if isinstance(spec, ImageDataset):
            assert spec.image_shape == spec.builder.image_shape
        if spec.name != "stanford_dogs":
            assert spec.num_classes == len(spec.builder.class_names)


@pytest.mark.parametrize(
    ("function", "settings", "message"),
    [
        (
            find_dataset,
            {"dataset": "svhn"},
            r"--dataset=svhn: must be one of digits, mnist, pmnist, .* recall or tfds:NAME",
        ),
        (find_dataset, {"dataset": "digits", "image_size": 9}, "--image_size=9: must be at most 8"),
        (sequence_spec, {"dataset": "cifar10", "image_size": 33}, "--image_size=33: must be at most 32"),
        (split_sizes, {"dataset": "mnist", "train_examples": 54_001}, "--train_examples=54001: must be at most 54,000"),
        (
            split_sizes,
            {"dataset": "digits", "validation_fraction": 0.9999},
            r"--validation_fraction=0.9999: must be small",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused(function, settings, message):
    with pytest.raises(ConfigError, match=message):
        function(DataConfig(**settings))


def test_split_sizes():
    assert split_sizes(DataConfig(dataset="mnist")) == SplitSizes(54_000, 6_000, 10_000)
    config = DataConfig(dataset="cifar10", validation_fraction=0.0, train_examples=50_000)
    assert split_sizes(config) == SplitSizes(50_000, 0, 10_000)


def test_import_is_light():
    code = "import sys, aux_rnn.datasets; print([m for m in ('tensorflow', 'sklearn', 'grain') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "[]"


# Shrinking.


def test_overlaps_worked_out_by_hand():
    # Two new pixels over three old ones: each takes one whole (2 halves) and one half of the middle one.
    assert overlap_matrix(3, 2).tolist() == [[2, 1, 0], [0, 1, 2]]
    assert overlap_matrix(4, 2).tolist() == [[2, 2, 0, 0], [0, 0, 2, 2]]
    for old, new in ((28, 14), (28, 11), (32, 31), (8, 1), (8, 8)):
        overlaps = overlap_matrix(old, new)
        np.testing.assert_array_equal(overlaps.sum(1), old)
        np.testing.assert_array_equal(overlaps.sum(0), new)


def test_fractional_overlap_worked_out_by_hand():
    image = np.array([[0, 30, 60], [90, 120, 150], [180, 210, 240]], np.uint8)
    # The corner is (1 * 0 + 1/2 * 30 + 1/2 * 90 + 1/4 * 120) / (9/4) = 40.
    assert shrink_images(image[None, :, :, None], 2)[0, :, :, 0].tolist() == [[40, 80], [160, 200]]


def test_halves_are_rounded_up():
    image = np.array([[0, 1], [0, 1]], np.uint8)
    assert shrink_images(image[None, :, :, None], 1).item() == 1
    assert shrink_images(np.array([[1, 0], [0, 0]], np.uint8)[None, :, :, None], 1).item() == 0


@pytest.mark.parametrize(("old", "new"), [(28, 14), (28, 7), (32, 8), (24, 4), (6, 1)])
def test_dividing_sizes_give_block_means(old, new):
    images = np.random.default_rng(old).integers(0, 256, (5, old, old, 3), np.uint8)
    block = old // new
    sums = images.reshape(5, new, block, new, block, 3).astype(np.int64).sum((2, 4))
    np.testing.assert_array_equal(shrink_images(images, new), (2 * sums + block**2) // (2 * block**2))


@pytest.mark.parametrize(("old", "new"), [(28, 13), (8, 5), (8, 7), (32, 20)])
def test_other_sizes_equal_enlarging_then_block_means(old, new):
    images = np.random.default_rng(new).integers(0, 256, (3, old, old, 2), np.uint8)
    enlarged = images.repeat(new, axis=1).repeat(new, axis=2)
    np.testing.assert_array_equal(shrink_images(images, new), shrink_images(enlarged, new))
    sums = enlarged.reshape(3, new, old, new, old, 2).astype(np.int64).sum((2, 4))
    np.testing.assert_array_equal(shrink_images(images, new), (2 * sums + old**2) // (2 * old**2))


def test_constant_images_stay_constant_and_the_own_size_changes_nothing():
    images = np.full((2, 28, 28, 1), 255, np.uint8)
    assert (shrink_images(images, 11) == 255).all()
    assert shrink_images(images, 28) is images


# Splitting.


def test_rows_are_divided_completely_and_by_seed():
    train, validation = divide_rows(1000, 100, seed=3)
    assert (len(train), len(validation)) == (900, 100)
    assert sorted([*train, *validation]) == list(range(1000))
    for part, again in zip((train, validation), divide_rows(1000, 100, seed=3), strict=True):
        np.testing.assert_array_equal(part, again)
    assert set(validation) != set(divide_rows(1000, 100, seed=4)[1])
    assert len(divide_rows(10, 0, seed=0)[1]) == 0


def test_division_never_changes():
    # Written down once: runs of different versions must hold out the same examples.
    rest, held_out = divide_rows(10, 3, seed=0)
    assert [*held_out, *rest] == [3, 2, 1, 8, 6, 0, 7, 4, 5, 9]


# Digits, from scikit-learn to arrays.


@pytest.fixture(scope="module")
def prepared_dir(tmp_path_factory):
    """A folder with the digits prepared; never written to."""
    data_dir = tmp_path_factory.mktemp("prepared")
    prepare(DataConfig(dataset="digits", data_dir=str(data_dir)))
    return data_dir


def digits_config(data_dir, **settings):
    return DataConfig(dataset="digits", data_dir=str(data_dir), **settings)


def raw_digits():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return (images * 16).clip(0, 255).reshape(-1, 8, 8, 1), labels


def test_digits_end_to_end(prepared_dir):
    splits = load_splits(digits_config(prepared_dir), seed=0)
    assert [len(split) for split in (splits.train, splits.validation, splits.test)] == [1293, 144, 360]
    assert splits.train.inputs.shape == (1293, 8, 8, 1)
    assert splits.train.inputs.dtype == np.uint8
    assert splits.train.labels.dtype == np.int32
    assert (splits.test.inputs.min(), splits.test.inputs.max()) == (0, 255)
    images, labels = raw_digits()
    train_rows, validation_rows = divide_rows(1437, 144, seed=0)
    for part, rows in (
        (splits.train, np.sort(train_rows)),
        (splits.validation, np.sort(validation_rows)),
        (splits.test, np.arange(1437, 1797)),
    ):
        np.testing.assert_array_equal(part.labels, labels[rows])
        # 255 / 16 is a little less than 16: no grey value of the scaled image is more than one step of rounding away.
        assert np.abs(part.inputs - images[rows] * (255 / 256)).max() <= 1.0


def test_catalogue_call_reads_the_prepared_records(prepared_dir):
    import tensorflow_datasets as tfds

    records = tfds.data_source("sequential_digits", split="test", data_dir=prepared_dir, download=False)
    assert len(records) == 360
    assert records[0]["image"].shape == (8, 8, 1)
    assert prepare(digits_config(prepared_dir)).info.features["label"].names == list("0123456789")


def test_capped_examples_are_a_part_of_all_and_validation_stays(prepared_dir):
    everything = load_splits(digits_config(prepared_dir), seed=5)
    capped = load_splits(digits_config(prepared_dir, train_examples=100, image_size=4), seed=5)
    assert capped.train.inputs.shape == (100, 4, 4, 1)
    whole = {image.tobytes() for image in shrink_images(everything.train.inputs, 4)}
    assert {image.tobytes() for image in capped.train.inputs} <= whole
    np.testing.assert_array_equal(capped.validation.labels, everything.validation.labels)
    np.testing.assert_array_equal(capped.test.inputs, shrink_images(everything.test.inputs, 4))


def test_without_validation_part(prepared_dir):
    splits = load_splits(digits_config(prepared_dir, validation_fraction=0.0), seed=0)
    assert len(splits.train) == 1437
    assert splits.validation.inputs.shape == (0, 8, 8, 1)


def test_prepared_data_needs_no_official_files_and_no_writing(prepared_dir, tmp_path, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("must not be called")

    monkeypatch.setattr(preparing, "write_records", forbidden)
    monkeypatch.setattr(preparing, "locate_files", forbidden)
    monkeypatch.setattr(preparing, "check_writable", forbidden)
    prepare(digits_config(prepared_dir))


def test_default_folder_is_that_of_tfds(prepared_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared_dir))
    assert str(prepare(DataConfig(dataset="digits")).data_dir).startswith(str(prepared_dir))
    monkeypatch.delenv("TFDS_DATA_DIR")
    monkeypatch.setenv("HOME", str(prepared_dir / "home"))
    shutil.copytree(prepared_dir / "sequential_digits", prepared_dir / "home/tensorflow_datasets/sequential_digits")
    assert str(prepare(DataConfig(dataset="digits")).data_dir).startswith(str(prepared_dir / "home"))


def test_preparing_prints_nothing(tmp_path, capfd):
    prepare(digits_config(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_another_process_may_win_the_race(prepared_dir, tmp_path, monkeypatch):
    def lose(builder):
        shutil.copytree(prepared_dir / "sequential_digits", tmp_path / "sequential_digits")
        raise OSError("Directory not empty")

    monkeypatch.setattr(preparing, "write_records", lose)
    assert prepare(digits_config(tmp_path)).is_prepared()


# What bad data gets.


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"--manual_dir=.*nowhere: must be an existing folder"):
        prepare(digits_config(tmp_path, manual_dir=str(tmp_path / "nowhere")))
    with pytest.raises(ConfigError, match=r"--data_dir=gs://bucket: must be a folder of this machine"):
        prepare(digits_config("gs://bucket"))
    (tmp_path / "file").write_text("")
    for data_dir in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(DataError, match=r"--data_dir=.*file.*: cannot be written"):
            prepare(digits_config(data_dir))


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("write() failed: No space left on device")]
)
def test_a_full_disk_is_a_data_error(tmp_path, monkeypatch, error):
    def fail(builder):
        raise error

    monkeypatch.setattr(preparing, "write_records", fail)
    with pytest.raises(DataError, match=r"preparing digits failed .*No space left on device"):
        prepare(digits_config(tmp_path))


def test_missing_official_files_stop_before_anything_is_written(tmp_path, monkeypatch):
    def refuse(source, manual_dir, download_dir):
        return locating.locate_files(source, manual_dir, download_dir, opener=unreachable)

    def unreachable(url, timeout):
        raise OSError("network is unreachable")

    monkeypatch.setattr(preparing, "locate_files", refuse)
    with pytest.raises(DataError, match=r"cifar-10-binary.tar.gz .*https://.*--manual_dir=.*unreachable"):
        load_splits(DataConfig(dataset="cifar10", data_dir=str(tmp_path), manual_dir=str(tmp_path)), seed=0)
    assert list(tmp_path.iterdir()) == []


SHARD = "sequential_digits-train.array_record-00000-of-00001"


def flip_a_bit(folder):
    content = bytearray((folder / SHARD).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / SHARD).write_bytes(content)


def edit_info(old, new):
    def edit(folder):
        path = folder / "dataset_info.json"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (flip_a_bit, "hash mismatch"),
        (lambda folder: (folder / SHARD).write_bytes(b""), "ArrayRecord"),
        (lambda folder: (folder / SHARD).unlink(), "No such file"),
        (lambda folder: (folder / "dataset_info.json").unlink(), "incomplete"),
        (lambda folder: (folder / "dataset_info.json").write_text("{"), "JSON"),
        (edit_info('"version": "1.0.0"', '"version": "3.0.0"'), "do not match"),
        (edit_info('"1437"', '"7"'), "train has 7 examples instead of 1,437"),
        (edit_info("array_record", "tfrecord"), "Random access"),
    ],
)
def test_damaged_prepared_folder_is_refused_and_kept(prepared_dir, tmp_path, damage, message):
    shutil.copytree(prepared_dir / "sequential_digits", tmp_path / "sequential_digits")
    folder = tmp_path / "sequential_digits" / "1.0.0"
    damage(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match=message) as caught:
        load_splits(digits_config(tmp_path), seed=0)
    assert str(folder) in str(caught.value)
    assert "move this folder away" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_reading_holds_only_a_piece_at_full_size(monkeypatch):
    class Records:
        def __getitems__(self, rows):
            return [{"image": np.full((32, 32, 3), row % 256, np.uint8), "label": row % 10} for row in rows]

    monkeypatch.setattr(ImageReader, "examples_at_once", 10)
    reader = DATASETS["cifar10"].make_reader(DataConfig(dataset="cifar10", image_size=2))
    tracemalloc.start()
    examples = loading.read_examples(Records(), np.arange(999, -1, -1), DATASETS["cifar10"], reader)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(examples.inputs[:, 1, 1, 2], np.arange(1000) % 256)
    np.testing.assert_array_equal(examples.labels, np.arange(1000) % 10)
    assert peak < 1_000_000, "1,000 images take 3 MB"


def test_examples_cannot_be_reassigned():
    examples = Examples(np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32))
    with pytest.raises(dataclasses.FrozenInstanceError):
        examples.labels = np.ones(1, np.int32)
