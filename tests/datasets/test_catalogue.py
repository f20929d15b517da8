"""`tfds:NAME`: data sets that somebody else prepared."""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import chex
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from hypothesis import given
from hypothesis import strategies as st
from modes.data_report import report_data
from PIL import Image
from properties import assert_one_line, damages, examples
from tensorboardX.record_writer import RecordWriter

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import DataError, find_dataset, load_splits, sequence_spec, split_sizes
from aux_rnn.datasets.forms import crop_and_shrink

SIZES = {"train": 20, "test": 5}


def draw(number, varying=False):
    height, width = (6, 5 + number % 4) if varying else (6, 4)
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def as_png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    stream.seek(0)
    return stream


class Authored(tfds.dataset_builders.AdhocBuilder, skip_registration=True):
    """A builder of given examples, which does not ask TensorFlow whether they are one of its data sets."""

    def _split_generators(self, dl_manager):
        return {split: iter(examples) for split, examples in self._split_datasets.items()}


def write(folder, name, features, make_example, sizes=SIZES, config=None):
    """Prepares a data set called `name` as its authors would."""
    splits = {split: [(n, make_example(n)) for n in range(count)] for split, count in sizes.items()}
    features = tfds.features.FeaturesDict(features)
    where = dict(data_dir=folder, config=config, file_format="array_record")
    Authored(name=name, version="1.2.0", features=features, split_datasets=splits, **where).download_and_prepare()


PICTURES = {"picture": tfds.features.Image(shape=(6, 4, 3)), "kind": tfds.features.ClassLabel(names=["a", "b", "c"])}
VARYING = {**PICTURES, "picture": tfds.features.Image(shape=(None, None, 3)), "size": np.int64}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of prepared data sets; never written to."""
    folder = tmp_path_factory.mktemp("catalogue")
    write(folder, "plain", PICTURES, lambda n: {"picture": as_png(draw(n)), "kind": n % 3})
    sizes = {"train": 20, "validation": 7}
    numbered = lambda n: {"picture": as_png(draw(n, True)), "kind": n % 3, "size": n}  # noqa: E731
    write(folder, "varying", VARYING, numbered, sizes, config="wide")
    two = {**PICTURES, "mask": tfds.features.Image(shape=(6, 4, 3))}
    write(folder, "two", two, lambda n: {"picture": as_png(draw(n)), "mask": as_png(draw(n)), "kind": 0})
    write(folder, "trained", PICTURES, lambda n: {"picture": as_png(draw(n)), "kind": 0}, {"train": 3})
    unlabelled = {**PICTURES, "kind": tfds.features.ClassLabel(num_classes=3)}
    write(folder, "unlabelled", unlabelled, lambda n: {"picture": as_png(draw(n)), "kind": -1})
    return folder


def catalogue_config(folder, name, **settings):
    return DataConfig(**{"dataset": name, "data_dir": str(folder), "validation_fraction": 0.0, **settings})


def sort_rows(inputs):
    return sorted(image.tobytes() for image in inputs)


@pytest.mark.parametrize(("side", "length"), [(0, 24), (2, 4)])
def test_images_of_one_size_are_read_as_they_are_or_shrunk_to_a_square(side, length, prepared, caplog):
    config = catalogue_config(prepared, "tfds:plain", image_size=side)
    assert sequence_spec(config) == SequenceSpec(length, 3, 3)
    assert split_sizes(config).train == 20
    splits = load_splits(config, seed=0)
    images = np.stack([draw(number) for number in range(20)])
    expected = crop_and_shrink(images, side) if side else images
    # tfds stores examples in an order of its own.
    found = {image.tobytes(): kind for image, kind in zip(splits.train.inputs, splits.train.labels, strict=True)}
    assert found == {image.tobytes(): number % 3 for number, image in enumerate(expected)}
    assert len(splits.test) == 5
    assert "OpenCV" not in caplog.text  # of which tfds advises the use, for speed
    with pytest.raises(ConfigError, match="image_size=5: must be at most 4, the shorter side"):
        find_dataset(catalogue_config(prepared, "tfds:plain", image_size=5))


def test_images_of_varying_size_need_a_side_and_validation_may_stand_in_for_test(prepared, caplog):
    for version in ("", "/1.2.0", ":1.2.0"):
        with pytest.raises(ConfigError, match="image_size=0: must be above 0, because the images"):
            find_dataset(catalogue_config(prepared, f"tfds:varying/wide{version}"))
    config = catalogue_config(prepared, "tfds:varying/wide", image_size=5)
    assert sequence_spec(config) == SequenceSpec(25, 3, 3)
    splits = load_splits(config, seed=0)
    expected = [crop_and_shrink(draw(number, True)[None], 5)[0] for number in range(20)]
    assert sort_rows(splits.train.inputs) == sort_rows(expected)
    assert len(splits.test) == 7
    assert "has no test split; its validation split is used instead" in caplog.text
    assert "7 test (its validation split)" in report_data(config, seed=0)


NO_NAME = "must be tfds:NAME or tfds:NAME/CONFIG, such as"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", r"dataset=tfds:absent: not prepared in .*absent; prepare it with tfds, .*array_record"),
        ("svhn_cropped", r"tf/bin/pip install tensorflow tensorflow-datasets array_record; tf/bin/python -c"),
        ("emnist/letters", "name dataset=emnist/letters, which is read from its official files"),
        ("varying", r"not prepared in .*varying; name one of tfds:varying/wide"),
        ("two", r"exactly one image of bytes, .* and one class label; .* picture \(Image\), mask \(Image\)|mask"),
        ("trained", r"needs examples in the splits train and test \(or validation\); it has train with 3"),
        ("unlabelled", r"label -1 is none of the 3 classes\); prepare it with tfds"),
        *((name, NO_NAME) for name in ("", "../other", "/etc", "a b", "a//b", ".hidden")),
        ("x" * 300, "not prepared in"),
    ],
)
def test_data_that_will_not_do_is_refused_in_one_line(prepared, name, message):
    with pytest.raises((DataError, ConfigError), match=message) as caught:
        load_splits(catalogue_config(prepared, f"tfds:{name}"), seed=0)
    assert_one_line(caught.value)


@pytest.fixture
def copied(prepared, tmp_path):
    """A data set that may be damaged."""
    shutil.copytree(prepared / "plain", tmp_path / "plain")
    return tmp_path / "plain/1.2.0"


def load_copy(copied):
    return load_splits(catalogue_config(copied.parent.parent, "tfds:plain"), seed=0)


def set_file_format(folder, old, new):
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace(old, new))


def test_tfrecord_files_are_read_as_array_record_files(prepared, copied):
    expected = load_splits(catalogue_config(prepared, "tfds:plain"), seed=0)
    set_file_format(copied, "array_record", "tfrecord")
    for path in copied.glob("*.array_record-*"):
        reader = array_record_module.ArrayRecordReader(str(path))
        path.unlink()
        writer = RecordWriter(str(path).replace("array_record", "tfrecord"))
        for record in reader.read_all():
            writer.write(record)
        writer.close()
    found = load_copy(copied)
    chex.assert_trees_all_equal(found.train.inputs, expected.train.inputs)
    chex.assert_trees_all_equal(found.test.labels, expected.test.labels)
    set_file_format(copied, "tfrecord", "riegeli")
    with pytest.raises(DataError, match=r"stored as riegeli, .* be read here; .*array_record"):
        load_copy(copied)
    set_file_format(copied, "riegeli", "tfrecord")
    shard = copied / "plain-train.tfrecord-00000-of-00001"
    for damaged in (shard.read_bytes()[:-1], b""):
        shard.write_bytes(damaged)
        with pytest.raises(DataError, match=r"1.2.0: cannot be read.*; prepare it with tfds"):
            load_copy(copied)


def test_the_newest_version_counts(copied):
    shutil.copytree(copied, copied.parent / "1.10.0")
    (copied.parent / "2.0.0").mkdir()  # unfinished
    found = find_dataset(catalogue_config(copied.parent.parent, "tfds:plain"))
    assert str(found.opened.folder).endswith("plain/1.10.0")


def edit_features(folder, change):
    path = folder / "features.json"
    description = json.loads(path.read_text())
    change(description["featuresDict"]["features"])
    path.write_text(json.dumps(description))


def with_dimensions(*dimensions):
    return lambda features: features["picture"]["image"]["shape"].update(dimensions=list(dimensions))


def test_no_module_is_imported_that_a_folder_names(copied, tmp_path, monkeypatch):
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    edit_features(copied, lambda features: features["picture"].update(pythonClassName="harmful.Image"))
    with pytest.raises(DataError, match=r"has a feature of the class harmful.Image; only those of tfds are read"):
        load_copy(copied)
    assert "harmful" not in sys.modules


UNREADABLE = r"1.2.0: cannot be read.*; prepare it with tfds"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda features: features["kind"]["classLabel"].update(numClasses=0), "one class label"),
        (with_dimensions("0", "0", "3"), "one image of bytes"),
        (with_dimensions("-6", "4", "3"), UNREADABLE),
        (with_dimensions("6000", "4000", "3"), UNREADABLE),
        (with_dimensions("4", "6", "3"), UNREADABLE),
        (lambda features: features["picture"]["image"].update(dtype="uint7"), UNREADABLE),
    ],
)
def test_features_that_are_not_those_of_the_records_are_refused(copied, change, message, capfd):
    (copied / "kind.labels.txt").unlink()
    edit_features(copied, change)
    with pytest.raises(DataError, match=message) as caught:
        load_copy(copied)
    assert_one_line(caught.value)
    assert capfd.readouterr() == ("", "")


@examples(40)
@given(st.floats(0, 1, exclude_max=True), damages())
def test_any_damaged_folder_is_read_or_refused(prepared, place, damage):
    with tempfile.TemporaryDirectory() as parent:
        shutil.copytree(prepared / "plain", Path(parent) / "plain")
        files = sorted(path for path in Path(parent).rglob("*") if path.is_file())
        file = files[int(place * len(files))]
        file.write_bytes(damage(file.read_bytes()))
        config = catalogue_config(parent, "tfds:plain")
        try:
            splits = load_splits(config, seed=0)
        except (DataError, ConfigError) as error:
            assert_one_line(error)
        else:
            assert (splits.train.inputs.dtype, splits.train.labels.dtype) == (np.uint8, np.int32)
            if not file.name.endswith(".json"):
                assert sort_rows(splits.train.inputs) == sort_rows([draw(number) for number in range(20)])


def test_sequences_of_floats_are_read(tmp_path):
    features = {"wave": tfds.features.Tensor(shape=(6, 2), dtype=np.float32), "kind": PICTURES["kind"]}
    waves = np.random.default_rng(0).normal(size=(20, 6, 2)).astype(np.float32)
    write(tmp_path, "waves", features, lambda n: {"wave": waves[n], "kind": n % 3})
    config = catalogue_config(tmp_path, "tfds:waves")
    assert sequence_spec(config) == SequenceSpec(6, 2, 3)
    splits = load_splits(config, seed=0)
    assert splits.train.inputs.dtype == np.float32
    assert sort_rows(splits.train.inputs) == sort_rows(waves)
    with pytest.raises(ConfigError, match="image_size=4: must be 0"):
        find_dataset(catalogue_config(tmp_path, "tfds:waves", image_size=4))
    waves[3, 2, 1] = np.inf
    write(tmp_path, "broken", features, lambda n: {"wave": waves[n], "kind": n % 3})
    with pytest.raises(DataError, match="a value is not finite"):
        load_splits(catalogue_config(tmp_path, "tfds:broken"), seed=0)
