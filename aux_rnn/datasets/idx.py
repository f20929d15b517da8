"""Data sets in the format of MNIST: idx files of 28x28 images and of labels, packed by gzip."""

import gzip
from collections.abc import Iterator, Sequence

import numpy as np

from aux_rnn.datasets.errors import reporting_damage
from aux_rnn.datasets.files import OfficialFile, Source
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Files, OfficialDataset, Piece

IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"
PARTS = {"train": "train", "test": "t10k"}
REMARK = " (packed by gzip, as published; unpacked files are not read)"


def read_images(content: bytes) -> np.ndarray:
    """Returns the images of a packed idx file, uint8 `[N, 28, 28, 1]`."""
    return np.frombuffer(gzip.decompress(content), np.uint8, offset=IMAGES_HEADER).reshape(-1, 28, 28, 1)


def read_labels(content: bytes) -> np.ndarray:
    """Returns the labels of a packed idx file, uint8 `[N]`."""
    return np.frombuffer(gzip.decompress(content), np.uint8, offset=LABELS_HEADER)


def read_split(files: Files, split: str) -> Iterator[Piece]:
    """Yields the examples of a split from its two files."""
    images, labels = (files[f"{PARTS[split]}-{kind}"] for kind in (IMAGES, LABELS))
    with reporting_damage(images):
        pixels = read_images(images.read_bytes())
    with reporting_damage(labels):
        classes = read_labels(labels.read_bytes())
    yield pixels, classes


def idx_dataset(name: str, address: str, class_names: Sequence[str]) -> OfficialDataset:
    """Describes a data set of 60,000 training and 10,000 test images in four files with the names of MNIST's.

    The name is that of tfds, too, whose checksums apply; the address ends with a slash.
    """
    files = [OfficialFile(f"{address}{part}-{kind}") for part in PARTS.values() for kind in (IMAGES, LABELS)]
    return OfficialDataset(
        name=name,
        form=Images((28, 28, 1)),
        num_classes=len(class_names),
        train_examples=60_000,
        test_examples=10_000,
        source=Source(name, tuple(files), REMARK),
        read_split=read_split,
        read_class_names=lambda files: class_names,
    )
