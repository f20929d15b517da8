"""Any data set with images that tfds has prepared: `--dataset=tfds:NAME`, read without the class that prepared it."""

import contextlib
import dataclasses
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.folders import data_folder, unusable
from aux_rnn.datasets.readers import ImageReader
from aux_rnn.datasets.specs import DatasetSpec
from aux_rnn.errors import first_line
from aux_rnn.settings import reject

PREFIX = "tfds:"
HOW_TO_PREPARE = "prepare it with tfds, builder.download_and_prepare(file_format='array_record')"
FEATURES_FILE = "features.json"
CLASS_NAMES = ("pythonClassName", "python_class_name", "type")  # how a feature's class is called, now and earlier
MOST_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class CatalogueDataset(DatasetSpec):
    """A prepared data set as tfds opens it.

    Attributes:
      opened: its builder, which can only read.
      image_name: what the image is called in a record.
      label_name: what the label is called.
      image_shape: (H, W, C); H and W are None where images differ in size.
    """

    opened: tfds.core.DatasetBuilder
    image_name: str
    label_name: str
    image_shape: tuple[int | None, int | None, int]

    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        height, width, channels = self._shape(config)
        return SequenceSpec(length=height * width, channels=channels, num_classes=self.num_classes)

    def make_reader(self, config: DataConfig) -> ImageReader:
        return ImageReader(self._shape(config), self.image_shape, self.image_name, self.label_name)

    def _shape(self, config: DataConfig) -> tuple[int, int, int]:
        self.refuse_sequence_length(config)
        height, width, channels = self.image_shape
        if height is None or width is None:
            if config.image_size == 0:
                raise reject("image_size", 0, f"above 0, the side to shrink to: images of {self.name} differ in size")
        elif config.image_size > min(height, width):
            allowed = f"at most {min(height, width)}, the shorter side of the images of {self.name} (0 keeps them)"
            raise reject("image_size", config.image_size, allowed)
        elif config.image_size == 0:
            return height, width, channels
        return config.image_size, config.image_size, channels


def open_catalogue(config: DataConfig) -> CatalogueDataset:
    """Opens the data set that `tfds:NAME` or `tfds:NAME/CONFIG` means; reads what describes it and no example.

    Raises:
      ConfigError: NAME is no name.
      DataError: it is not prepared, is stored in another format, or does not have what is needed.
    """
    folder = find_folder(config.dataset, data_folder(config))
    check_classes(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # tfds asks for TensorFlow where it does not know a type
            opened = tfds.builder_from_directory(os.fspath(folder))
        counts = {name: split.num_examples for name, split in opened.info.splits.items()}
        file_format = opened.info.file_format
        features = dict(opened.info.features.items())
    except Exception as error:  # tfds raises many kinds of errors for a folder it does not understand
        raise unusable(folder, first_line(error), HOW_TO_PREPARE) from error
    if file_format != tfds.core.FileFormat.ARRAY_RECORD:
        stored = getattr(file_format, "value", file_format)
        raise DataError(f"{folder}: stored as {stored}, which is not read here; {HOW_TO_PREPARE} in another --data_dir")
    image_name, label_name = find_features(features, folder)
    test_split = next((name for name in ("test", "validation") if counts.get(name, 0) > 0), "")
    if counts.get("train", 0) < 1 or not test_split:
        found = ", ".join(f"{name} with {count:,}" for name, count in counts.items()) or "none"
        raise DataError(f"{folder}: needs examples in the splits train and test (or validation); it has {found}")
    return CatalogueDataset(
        name=config.dataset,
        num_classes=features[label_name].num_classes,
        train_examples=counts["train"],
        test_examples=counts[test_split],
        test_split=test_split,
        remedy=HOW_TO_PREPARE,
        opened=opened,
        image_name=image_name,
        label_name=label_name,
        image_shape=features[image_name].shape,
    )


def find_folder(dataset: str, data_dir: Path) -> Path:
    """The folder of the newest prepared version of `tfds:NAME`."""
    name = dataset.removeprefix(PREFIX)
    if not re.fullmatch(r"\w[\w.+-]*([/:]\w[\w.+-]*){0,2}", name):
        raise reject("dataset", dataset, "tfds:NAME or tfds:NAME/CONFIG, such as tfds:fashion_mnist")
    folder = data_dir / name.replace(":", "/")
    # Not Path.is_file and Path.is_dir, which raise for a name that is too long.
    if os.path.isfile(folder / FEATURES_FILE):
        return folder
    inside = sorted(path for path in folder.glob("[!.]*") if path.is_dir()) if os.path.isdir(folder) else []
    versions = [p for p in inside if tfds.core.Version.is_valid(p.name) and (p / FEATURES_FILE).is_file()]
    if versions:
        return max(versions, key=lambda path: tfds.core.Version(path.name))
    configs = [f"{dataset}/{path.name}" for path in inside if not tfds.core.Version.is_valid(path.name)]
    remedy = f"name one of {', '.join(configs)}" if configs else f"{HOW_TO_PREPARE}, or name another --data_dir"
    raise DataError(f"--dataset={dataset}: not prepared in {folder}; {remedy}")


def check_classes(folder: Path) -> None:
    """Raises DataError for features that are not tfds's own: to read them, tfds imports what the folder names."""
    try:
        found = json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise unusable(folder, first_line(error), HOW_TO_PREPARE) from error
    open_values = [found]
    while open_values:
        value = open_values.pop()
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if name in CLASS_NAMES and not str(inner).startswith("tensorflow_datasets."):
                raise DataError(f"{folder}: has a feature of the class {inner}; only those of tfds are read")
            if isinstance(inner, dict | list):
                open_values.append(inner)


def find_features(features: dict[str, Any], folder: Path) -> tuple[str, str]:
    """The names of the one image of bytes and the one class label among the features; raises DataError otherwise."""
    images = [name for name, feature in features.items() if is_image(feature)]
    labels = [name for name, feature in features.items() if is_label(feature)]
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    found = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
    raise DataError(f"{folder}: needs exactly one image of bytes and one class label; its features are {found}")


def is_image(feature: Any) -> bool:
    """Whether a feature holds uint8 [H, W, C], where H and W may vary."""
    # Not isinstance: images of classes (segmentations) and of boxes derive from these types.
    if type(feature) not in (tfds.features.Image, tfds.features.Tensor) or feature.np_dtype != np.uint8:
        return False
    return len(feature.shape) == 3 and feature.shape[2] is not None and all(n is None or n > 0 for n in feature.shape)


def is_label(feature: Any) -> bool:
    return isinstance(feature, tfds.features.ClassLabel) and 1 <= (feature.num_classes or 0) <= MOST_CLASSES
