"""Folders that tfds has prepared, which are read without TensorFlow and without the class that prepared them."""

import contextlib
import dataclasses
import functools
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.config.fields import is_plain_text, plain_text, reject
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import OpenedDataset, Records
from aux_rnn.datasets.errors import DataError, reporting_damage
from aux_rnn.system.logs import filtered_log

FEATURES_FILE = "features.json"
CLASS_NAMES = ("pythonClassName", "python_class_name", "type")  # keys of a feature's class, in all versions of tfds
TFDS_CLASS = "tensorflow_datasets."


def data_folder(config: DataConfig) -> Path:
    """Returns the folder of prepared data, by default that of tfds; raises ConfigError for an address."""
    return local_folder("data_dir", config.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def manual_folder(config: DataConfig) -> Path | None:
    """Returns the user's folder of official files, or None; raises ConfigError if it does not exist."""
    if not config.manual_dir:
        return None
    folder = local_folder("manual_dir", config.manual_dir)
    if not os.path.isdir(folder):  # not Path.is_dir, which raises for a name that is too long
        raise reject("manual_dir", config.manual_dir, "an existing folder")
    return folder


def local_folder(name: str, value: str) -> Path:
    """Returns the folder of a setting, with ~ resolved; raises ConfigError for an address such as gs://bucket."""
    if not is_plain_text(value):  # which may come from a variable of the environment
        raise reject(name, value, plain_text().phrase)
    if "://" in value:
        raise reject(name, value, "a folder of this machine; copy or mount the data first")
    return Path(os.path.expanduser(value))


@dataclasses.dataclass(frozen=True)
class PreparedFolder:
    """The folder of one version of a prepared data set; counts are the numbers of examples of splits with examples."""

    path: Path
    builder: tfds.core.DatasetBuilder
    counts: Mapping[str, int]
    remedy: str

    @classmethod
    def read(cls, path: Path, remedy: str) -> "PreparedFolder":
        """Reads the description of a prepared folder; raises DataError unless it can be read here."""
        with reporting_damage(path, remedy):
            check_classes(path)
            with contextlib.redirect_stdout(io.StringIO()):  # tfds asks for TensorFlow where it does not know a type
                builder = tfds.builder_from_directory(os.fspath(path))
            counts = {name: split.num_examples for name, split in builder.info.splits.items() if split.num_examples}
            file_format = builder.info.file_format
        if file_format not in (tfds.core.FileFormat.ARRAY_RECORD, tfds.core.FileFormat.TFRECORD):
            stored = getattr(file_format, "value", file_format)
            raise DataError(f"{path}: stored as {stored}, which cannot be read here; {remedy}")
        return cls(path, builder, counts, remedy)

    @property
    def features(self) -> Mapping[str, Any]:
        return self.builder.info.features

    def open(self, input_name: str, label_name: str) -> OpenedDataset:
        """Opens the data set with the given features as sequence and label."""
        label = self.features[label_name]
        with reporting_damage(self.path, self.remedy):  # there may be fewer names than classes
            names = [label.int2str(k) for k in range(label.num_classes)]

        def open_split(split: str) -> Records:
            with reporting_damage(self.path, self.remedy):
                source = self._open_source(split)
            return Records(len(source), functools.partial(read, source))

        def read(source: Any, rows: Sequence[int]) -> tuple[Sequence[np.ndarray], Sequence[int]]:
            with without_advice():
                examples = source.__getitems__(list(rows))
            return [e[input_name] for e in examples], [e[label_name] for e in examples]

        return OpenedDataset(names, open_split, self.path, self.remedy)

    def _open_source(self, split: str) -> Any:
        info = self.builder.info
        if info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
            return self.builder.as_data_source(split)
        return TFRecords(info.splits[split].filepaths, info.features, self.counts[split])


class TFRecords:
    """Reads a split that is stored as TFRecord by row, as the data sources of tfds do for array_record.

    Raises OSError if a file cannot be read, and ValueError if one is no TFRecord or they do not have `count` examples.
    """

    def __init__(self, files: Sequence[Path], features: tfds.features.FeaturesDict, count: int) -> None:
        # Here and not above: grain takes a second to import.
        from grain.experimental import TFRecordIterDataset

        self._features = features
        self._places: list[tuple[Any, Any]] = []  # the reader of each record, and its state before the record
        for reader in [iter(TFRecordIterDataset(str(file))) for file in files]:
            state = reader.get_state()
            for _ in reader:
                self._places.append((reader, state))
                state = reader.get_state()
        if len(self) != count:
            raise ValueError(f"{len(self):,} examples in place of {count:,}")

    def __len__(self) -> int:
        return len(self._places)

    def __getitems__(self, rows: Sequence[int]) -> list[Mapping[str, Any]]:
        return [self._features.deserialize_example_np(self._read(*self._places[row])) for row in rows]

    def _read(self, reader: Any, state: Any) -> bytes:
        reader.set_state(state)
        return next(reader)


def without_advice() -> contextlib.AbstractContextManager[None]:
    """Drops what tfds logs about the speed of OpenCV, which is not needed."""
    return filtered_log(lambda record: "OpenCV" not in str(record.msg))


def check_classes(folder: Path) -> None:
    """Raises DataError for features that do not belong to tfds, because tfds would import the code that they name."""

    def check(values: dict[str, Any]) -> None:
        for name in CLASS_NAMES:
            if not str(values.get(name, TFDS_CLASS)).startswith(TFDS_CLASS):
                raise DataError(f"{folder}: has a feature of the class {values[name]}; only those of tfds are read")

    json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"), object_hook=check)
