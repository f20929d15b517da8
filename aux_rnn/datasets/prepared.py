"""Folders that tfds has prepared, which are read without TensorFlow and without the class that prepared them."""

import contextlib
import functools
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.config.fields import reject
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import OpenedDataset, Records
from aux_rnn.datasets.errors import DataError, reading
from aux_rnn.system.logs import filtered_log

FEATURES_FILE = "features.json"
CLASS_NAMES = ("pythonClassName", "python_class_name", "type")  # keys of a feature's class, in all versions of tfds
TFDS_CLASS = "tensorflow_datasets."

ReadRows = Callable[[Sequence[int]], Sequence[Mapping[str, Any]]]


def data_folder(config: DataConfig) -> Path:
    """Returns the folder of prepared data, by default that of tfds; raises ConfigError for an address."""
    return local_folder("data_dir", config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def local_folder(name: str, value: str) -> Path:
    """Returns the folder of a setting, with ~ resolved; raises ConfigError for an address such as gs://bucket."""
    if "://" in value:
        raise reject(name, value, "a folder of this machine; copy or mount the data first")
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
