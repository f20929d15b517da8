"""Folders that tfds has prepared, which are read without TensorFlow and without the class that prepared them.

Those of official files are read by name; `--dataset=tfds:NAME` reads any data set of images or float sequences.
"""

import contextlib
import functools
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import OpenedDataset, ReadyDataset, Records
from aux_rnn.datasets.errors import DataError, reading
from aux_rnn.datasets.forms import Images, StoredForm
from aux_rnn.system.logs import filtered_log

FEATURES_FILE = "features.json"
IDX = ("mnist", "fashion_mnist", "kmnist", "emnist")  # read from their official files, without tfds
CLASS_NAMES = ("pythonClassName", "python_class_name", "type")  # keys of a feature's class, in all versions of tfds
TFDS_CLASS = "tensorflow_datasets."

ReadRows = Callable[[Sequence[int]], Sequence[Mapping[str, Any]]]


def data_folder(config: DataConfig) -> Path:
    """Returns the folder of prepared data, by default that of tfds; raises ConfigError for an address."""
    return local_folder("data_dir", config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def local_folder(name: str, value: str) -> Path:
    """Returns the folder of a setting, with ~ resolved; raises ConfigError for an address such as gs://bucket."""
    if "://" in value:
        raise setting_error(name, value, "a folder of this machine; copy or mount the data first")
    return Path(os.path.expanduser(value))


def read_builder(path: Path, remedy: str) -> tfds.core.DatasetBuilder:
    """Reads the description of one version of a prepared data set; raises DataError unless it can be read here."""
    with reading(path, remedy):
        check_classes(path)
        with contextlib.redirect_stdout(io.StringIO()):  # tfds asks for TensorFlow where it does not know a type
            builder = tfds.builder_from_directory(os.fspath(path))
        stored = builder.info.file_format
    if stored not in (tfds.core.FileFormat.ARRAY_RECORD, tfds.core.FileFormat.TFRECORD):
        raise DataError(f"{path}: stored as {getattr(stored, 'value', stored)}, which cannot be read here; {remedy}")
    return builder


def check_classes(folder: Path) -> None:
    """Raises DataError for features that do not belong to tfds, because tfds would import the code that they name."""

    def check(values: dict[str, Any]) -> None:
        for name in CLASS_NAMES:
            if not str(values.get(name, TFDS_CLASS)).startswith(TFDS_CLASS):
                raise DataError(f"{folder}: has a feature of the class {values[name]}; only those of tfds are read")

    json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"), object_hook=check)


def open_builder(builder: tfds.core.DatasetBuilder, input_name: str, label_name: str, remedy: str) -> OpenedDataset:
    """Opens a prepared data set with the given features as sequence and label; raises DataError if it is damaged."""
    info, folder = builder.info, Path(builder.data_dir)
    with reading(folder, remedy):  # there may be fewer names than classes
        label = info.features[label_name]
        names = [label.int2str(k) for k in range(label.num_classes)]

    def open_split(split: str) -> Records:
        with reading(folder, remedy):
            if info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
                read_rows = builder.as_data_source(split).__getitems__
            else:
                read_rows = open_tfrecords(info.splits[split], info.features)
        return Records(info.splits[split].num_examples, functools.partial(read, read_rows))

    def read(read_rows: ReadRows, rows: Sequence[int]) -> tuple[Sequence[np.ndarray], Sequence[int]]:
        with filtered_log(lambda record: "OpenCV" not in str(record.msg)):  # advice about speed, which is not needed
            examples = read_rows(list(rows))
        return [e[input_name] for e in examples], [e[label_name] for e in examples]

    return OpenedDataset(names, open_split, folder, remedy)


def open_tfrecords(split: tfds.core.SplitInfo, features: tfds.features.FeaturesDict) -> ReadRows:
    """Returns a function that reads examples of a split stored as TFRecord.

    Raises OSError if a file cannot be read, and ValueError if one is no TFRecord or examples are missing.
    """
    # Imported here because grain takes a second to import.
    from grain.experimental import TFRecordIterDataset

    places: list[tuple[Any, Any]] = []  # the reader of each record, and its state before the record
    for reader in [iter(TFRecordIterDataset(str(file))) for file in split.filepaths]:
        state = reader.get_state()
        for _ in reader:
            places.append((reader, state))
            state = reader.get_state()
    if len(places) != split.num_examples:
        raise ValueError(f"{len(places):,} examples instead of {split.num_examples:,}")

    def read(row: int) -> Mapping[str, Any]:
        reader, state = places[row]
        reader.set_state(state)
        return features.deserialize_example_np(next(reader))

    return lambda rows: [read(row) for row in rows]


def open_prepared(config: DataConfig) -> ReadyDataset:
    """Reads the description, and no example, of the data set that `tfds:NAME` or `tfds:NAME/CONFIG` denotes."""
    folder, remedy = find_folder(config.dataset, data_folder(config)), how_to_prepare(config.dataset)
    builder = read_builder(folder, remedy)
    input_name, form, label_name = find_features(builder.info.features, folder)
    counts = {name: split.num_examples for name, split in builder.info.splits.items() if split.num_examples}
    test_split = next((name for name in ("test", "validation") if name in counts), "")
    if "train" not in counts or not test_split:
        found = ", ".join(f"{name} with {count:,}" for name, count in counts.items()) or "none"
        raise DataError(f"{folder}: needs examples in the splits train and test (or validation); it has {found}")
    return ReadyDataset(
        name=config.dataset,
        form=form,
        num_classes=builder.info.features[label_name].num_classes,
        train_examples=counts["train"],
        test_examples=counts[test_split],
        test_split=test_split,
        opened=open_builder(builder, input_name, label_name, remedy),
    )


def how_to_prepare(dataset: str) -> str:
    """Returns the commands that prepare `tfds:NAME` as array_record."""
    name = dataset.removeprefix("tfds:")
    if re.split("[/:]", name)[0] in IDX:
        return f"name dataset={name.replace(':', '/')}, which is read from its official files"
    call = f"tfds.builder('{name}', data_dir='FOLDER').download_and_prepare(file_format='array_record')"
    return (
        "prepare it with tfds, which needs TensorFlow once for most data sets, in an environment of its own: "
        "python -m venv tf && tf/bin/pip install tensorflow tensorflow-datasets array_record; "
        f'tf/bin/python -c "import tensorflow_datasets as tfds; {call}"; then name it with data_dir=FOLDER'
    )


def find_folder(dataset: str, data_dir: Path) -> Path:
    """Returns the folder of the newest prepared version of `tfds:NAME`."""
    name = dataset.removeprefix("tfds:")
    if not re.fullmatch(r"\w[\w.+-]*([/:]\w[\w.+-]*){0,2}", name):
        raise setting_error("dataset", dataset, "tfds:NAME or tfds:NAME/CONFIG, such as tfds:svhn_cropped")
    folder = data_dir / name.replace(":", "/")
    # os.path instead of the methods of Path, which raise for a name that is too long.
    if os.path.isfile(folder / FEATURES_FILE):
        return folder
    inside = sorted(path for path in folder.glob("[!.]*") if path.is_dir()) if os.path.isdir(folder) else []
    versions = [p for p in inside if tfds.core.Version.is_valid(p.name) and (p / FEATURES_FILE).is_file()]
    if versions:
        return max(versions, key=lambda path: tfds.core.Version(path.name))
    configs = [f"{dataset}/{path.name}" for path in inside if not tfds.core.Version.is_valid(path.name)]
    remedy = f"name one of {', '.join(configs)}" if configs else how_to_prepare(dataset)
    raise DataError(f"dataset={dataset}: not prepared in {folder}; {remedy}")


def find_features(features: Mapping[str, Any], folder: Path) -> tuple[str, StoredForm, str]:
    """Returns the name and the form of the only sequence among the features, and the name of the only class label."""
    forms = {name: form for name, feature in features.items() if (form := form_of(feature))}
    labels = [name for name, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    if len(forms) == len(labels) == 1 and features[labels[0]].num_classes:
        return *next(iter(forms.items())), labels[0]
    found = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    expected = "exactly one image of bytes, or float32 sequence [L, C], and one class label"
    raise DataError(f"{folder}: needs {expected}; its features are {found}")


def form_of(feature: Any) -> StoredForm | None:
    """Returns the form of a feature that holds uint8 [H, W, C], where H and W may vary, or float32 [L, C]."""
    # Not isinstance: images of classes (segmentations) and of boxes derive from these types.
    if type(feature) not in (tfds.features.Image, tfds.features.Tensor):
        return None
    shape = tuple(feature.shape)
    if feature.np_dtype == np.uint8 and len(shape) == 3 and shape[2] and 0 not in shape:
        return Images(shape)
    if feature.np_dtype == np.float32 and len(shape) == 2 and all(shape):
        return StoredForm(shape)
    return None
