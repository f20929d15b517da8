"""Damaged prepared folders: each is read as arrays of the right shape, or refused in one line that names it.

`tests/properties.py` says how to run these tests with more examples.
"""

import builtins
import io
import json
import pickle
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import test_datasets_catalogue as catalogue_tests
import test_datasets_dogs as dogs_tests
import test_datasets_texts as texts_tests
from absl import logging
from hypothesis import given
from hypothesis import strategies as st
from properties import assert_one_line, damages, examples

from aux_rnn.config import DataConfig
from aux_rnn.datasets import DataError, describe_data, load_splits
from aux_rnn.settings import ConfigError
from experiments.data_report import format_description

SETTINGS = {
    "digits": dict(dataset="digits", image_size=4),
    "digits_text": dict(dataset="digits_text"),
    "dbpedia": dict(dataset="dbpedia", sequence_length=30),
    "dogs": dict(dataset="stanford_dogs", image_size=28),
    "plain": dict(dataset="tfds:plain"),
    "varying": dict(dataset="tfds:plain", image_size=5),
}
PARTS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Small official files of the data sets that need some."""
    folder = tmp_path_factory.mktemp("official")
    texts_tests.write_archive(folder / "dbpedia")
    (folder / "stanford_dogs").mkdir()
    images = {f"Images/{name}": dogs_tests.photograph(seed)[0] for seed, name in enumerate(dogs_tests.NAMES)}
    dogs_tests.write_tar(folder / "stanford_dogs" / "images.tar", images)
    dogs_tests.write_lists(folder / "stanford_dogs")
    return folder


def make_config(name, folder, manual_dir=""):
    return DataConfig(data_dir=str(folder), manual_dir=str(manual_dir), **SETTINGS[name])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, official):
    """Each data set in a folder of its own, and what is read from it; never written to."""
    folder = tmp_path_factory.mktemp("prepared")
    for name, features in (("plain", catalogue_tests.PICTURES), ("varying", catalogue_tests.VARYING)):
        is_varying = name == "varying"

        def draw(number, is_varying=is_varying):
            picture = catalogue_tests.as_png(catalogue_tests.draw(number, is_varying))
            return {"picture": picture, "kind": number % 3, **({"size": number} if is_varying else {})}

        catalogue_tests.write(folder / name, "plain", features, draw)
    return {name: (folder / name, load_splits(make_config(name, folder / name, official), seed=0)) for name in SETTINGS}


def damage_folder(source, target, place, damage, is_removed):
    """Copies a prepared data set with one file damaged or left out; returns that file's name."""
    shutil.copytree(source, target)
    files = sorted(path for path in target.rglob("*") if path.is_file() and "downloads" not in path.parts)
    file = files[int(place * len(files))]
    if is_removed:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    return file.name


@examples(60)
@given(
    st.sampled_from(list(SETTINGS)),
    st.floats(0, 1, exclude_max=True),
    damages(),
    st.sampled_from([False] * 9 + [True]),
)
def test_any_prepared_folder_is_read_or_refused(prepared, capfd, name, place, damage, is_removed):
    source, whole = prepared[name]
    logging.set_verbosity(logging.WARNING)  # as in main.py
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "data"
        file = damage_folder(source, folder, place, damage, is_removed)
        try:
            splits = load_splits(make_config(name, folder), seed=0)
            text = format_description(describe_data(make_config(name, folder), seed=0))
        except DataError as error:
            assert_one_line(error, str(folder))
        except ConfigError as error:  # for what a damaged description of the folder allows
            assert_one_line(error, "--")
        else:
            assert text.replace("\n", "").isprintable()
            for part in PARTS:
                read, expected = getattr(splits, part), getattr(whole, part)
                assert read.inputs.shape == expected.inputs.shape
                assert (read.inputs.dtype, read.labels.dtype) == (np.uint8, np.int32)
                if not file.endswith(".json"):  # what describes the records may say something else of them
                    np.testing.assert_array_equal(read.inputs, expected.inputs)
                    np.testing.assert_array_equal(read.labels, expected.labels)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


@pytest.fixture
def copied(prepared, tmp_path):
    """A data set of somebody else's that may be damaged."""
    shutil.copytree(prepared["plain"][0], tmp_path / "plain")
    return tmp_path / "plain" / "plain" / "1.2.0"


def refuse(folder):
    with pytest.raises(DataError) as caught:
        describe_data(make_config("plain", folder.parent.parent), seed=0)
    assert_one_line(caught.value, str(folder))
    return str(caught.value)


def test_no_module_is_imported_that_a_folder_names(copied, tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    description = (copied / "features.json").read_text()
    name = "tensorflow_datasets.core.features.image_feature.Image"
    assert name in description
    (copied / "features.json").write_text(description.replace(name, "harmful.Image"))
    assert "has a feature of the class harmful.Image; only those of tfds are read" in refuse(copied)
    assert "harmful" not in sys.modules


@pytest.mark.parametrize("text", ["a\n", "a\nb\nc\nd\n", "a\na\nb\n"])
def test_names_of_classes_must_be_as_many_as_classes(copied, text):
    (copied / "kind.labels.txt").write_text(text)
    assert "damaged, or prepared by another version" in refuse(copied)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda features: features["kind"]["classLabel"].update(numClasses=10**15), "one class label"),
        (lambda features: features["kind"]["classLabel"].update(numClasses=0), "one class label"),
        (
            lambda features: features["picture"]["image"]["shape"].update(dimensions=["0", "0", "3"]),
            "one image of bytes",
        ),
        (
            lambda features: features["picture"]["image"]["shape"].update(dimensions=["-6", "4", "3"]),
            "damaged",
        ),
        (lambda features: features["picture"]["image"].update(dtype="uint7"), "damaged"),
    ],
)
def test_absurd_descriptions_are_refused(copied, change, message, capfd):
    (copied / "kind.labels.txt").unlink()
    description = json.loads((copied / "features.json").read_text())
    change(description["featuresDict"]["features"])
    (copied / "features.json").write_text(json.dumps(description))
    assert message in refuse(copied)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dimensions", [["100000", "100000", "3"], ["6000", "4000", "3"], ["4", "6", "3"]])
def test_images_of_another_size_than_described_are_refused(copied, dimensions):
    description = json.loads((copied / "features.json").read_text())
    description["featuresDict"]["features"]["picture"]["image"]["shape"]["dimensions"] = dimensions
    (copied / "features.json").write_text(json.dumps(description))
    with pytest.raises((DataError, ConfigError)) as caught:
        load_splits(make_config("plain", copied.parent.parent), seed=0)
    assert_one_line(caught.value)


def test_examples_that_do_not_fit_into_memory_are_refused_before_they_are_made(tmp_path):
    config = DataConfig(dataset="recall", sequence_length=2**31 - 1, data_dir=str(tmp_path))
    with pytest.raises(ConfigError, match="--sequence_length=2147483647: must be smaller: 11,000 examples take 22,000"):
        load_splits(config, seed=0)
    assert not list(tmp_path.iterdir())


def test_names_that_are_too_long_are_refused(tmp_path):
    for settings in (dict(dataset="tfds:" + "x" * 300), dict(dataset="digits", manual_dir="x" * 5_000)):
        with pytest.raises((DataError, ConfigError)) as caught:
            load_splits(DataConfig(**{"data_dir": str(tmp_path), **settings}), seed=0)
        assert_one_line(caught.value)


def test_folders_of_any_language_will_do(tmp_path):
    folder = tmp_path / "données 数据\u3000👩\u200d🔬"
    assert len(load_splits(make_config("digits_text", folder), seed=0).test) == 360


@pytest.mark.parametrize("name", SETTINGS)
def test_nothing_is_unpickled_or_run(name, official, prepared, tmp_path, monkeypatch):
    """Prepares and reads every format while all that could make code of data fails."""

    def fail(*arguments, **settings):
        raise AssertionError("data became code")

    if name in ("plain", "varying"):
        shutil.copytree(prepared[name][0], tmp_path / "data")
    load_splits(make_config("digits", tmp_path / "first"), seed=0)  # so that modules are imported before
    for module, function in (
        (pickle, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (np, "load"),
        (builtins, "eval"),
    ):
        monkeypatch.setattr(module, function, fail)
    monkeypatch.setattr(io, "open_code", fail)
    splits = load_splits(make_config(name, tmp_path / "data", official), seed=0)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(splits, part).inputs, getattr(prepared[name][1], part).inputs)
