"""Any data set of images or of float sequences that tfds has prepared: `--dataset=tfds:NAME`."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.config.fields import reject
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import ReadyDataset
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.forms import Images, StoredForm
from aux_rnn.datasets.prepared import FEATURES_FILE, data_folder, open_builder, read_builder

IDX = ("mnist", "fashion_mnist", "kmnist", "emnist")  # read from their official files, without tfds


def open_catalogue(config: DataConfig) -> ReadyDataset:
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
        return f"name --dataset={name.replace(':', '/')}, which is read from its official files"
    call = f"tfds.builder('{name}', data_dir='FOLDER').download_and_prepare(file_format='array_record')"
    return (
        "prepare it with tfds, which needs TensorFlow once for most data sets, in an environment of its own: "
        "python -m venv tf && tf/bin/pip install tensorflow tensorflow-datasets array_record; "
        f'tf/bin/python -c "import tensorflow_datasets as tfds; {call}"; then name it with --data_dir=FOLDER'
    )


def find_folder(dataset: str, data_dir: Path) -> Path:
    """Returns the folder of the newest prepared version of `tfds:NAME`."""
    name = dataset.removeprefix("tfds:")
    if not re.fullmatch(r"\w[\w.+-]*([/:]\w[\w.+-]*){0,2}", name):
        raise reject("dataset", dataset, "tfds:NAME or tfds:NAME/CONFIG, such as tfds:svhn_cropped")
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
    raise DataError(f"--dataset={dataset}: not prepared in {folder}; {remedy}")


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
