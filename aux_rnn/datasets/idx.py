"""Data sets in the format of MNIST: idx files of 28x28 images and of labels, packed by gzip."""

import gzip
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from aux_rnn.datasets.errors import reporting_damage
from aux_rnn.datasets.files import OfficialFile, Source
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Files, OfficialDataset, Piece

IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes
IMAGES, LABELS = "images-idx3-ubyte.gz", "labels-idx1-ubyte.gz"
PARTS = {"train": "train", "test": "t10k"}
PACKED_ONLY = " (packed by gzip, as published; unpacked files have no published checksums and are not read)"


def unpack(content: bytes) -> bytes:
    """Returns the content of a file, decompressed where it was compressed by gzip."""
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


def read_images(content: bytes) -> np.ndarray:
    """Returns the images of an idx file, uint8 `[N, 28, 28, 1]`."""
    return np.frombuffer(unpack(content), np.uint8, offset=IMAGES_HEADER).reshape(-1, 28, 28, 1)


def read_labels(content: bytes) -> np.ndarray:
    """Returns the labels of an idx file, uint8 `[N]`."""
    return np.frombuffer(unpack(content), np.uint8, offset=LABELS_HEADER)


def read_split(files: Files, split: str) -> Iterator[Piece]:
    """Yields the examples of a split from its two files."""
    images, labels = (files[f"{PARTS[split]}-{kind}"] for kind in (IMAGES, LABELS))
    with reporting_damage(images):
        pixels = read_images(images.read_bytes())
    with reporting_damage(labels):
        classes = read_labels(labels.read_bytes())
    yield pixels, classes


def idx_dataset(
    name: str, address: str, class_names: Sequence[str], contents: Mapping[str, str] | None = None
) -> OfficialDataset:
    """Describes a data set of 60,000 training and 10,000 test images in four files with the names of MNIST's.

    The name is that of tfds, too, whose checksums apply; the address ends with a slash. Unpacked files are read if
    their SHA-256 is given in `contents`, by name.
    """
    names = [f"{part}-{kind}" for part in PARTS.values() for kind in (IMAGES, LABELS)]
    files = [OfficialFile(f"{address}{packed}") for packed in names]
    if contents:
        unpacked = [(packed, packed.removesuffix(".gz")) for packed in names]
        files = [OfficialFile(f"{address}{packed}", plain, {plain: contents[plain]}) for packed, plain in unpacked]
    return OfficialDataset(
        name=name,
        form=Images((28, 28, 1)),
        num_classes=len(class_names),
        train_examples=60_000,
        test_examples=10_000,
        source=Source(name, tuple(files), "" if contents else PACKED_ONLY),
        read_split=read_split,
        read_class_names=lambda files: class_names,
    )
