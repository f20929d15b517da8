"""Data sets in the format of MNIST: idx files of 28x28 images and of labels, packed by gzip."""

import gzip
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from aux_rnn.datasets.errors import reporting_damage
from aux_rnn.datasets.files import OfficialFile, Source
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Files, OfficialDataset, Piece

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
PARTS = {"train": "train", "test": "t10k"}
PACKED_ONLY = " (packed by gzip, as published; unpacked files have no published checksums and are not read)"


def read_idx(content: bytes) -> np.ndarray:
    """Returns the array of an idx file, uint8, which may be packed by gzip."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_split(files: Files, split: str) -> Iterator[Piece]:
    """Yields the examples of a split from its two files."""
    arrays = []
    for path in (files[f"{PARTS[split]}-{kind}.gz"] for kind in (IMAGES, LABELS)):
        with reporting_damage(path):
            arrays.append(read_idx(path.read_bytes()))
    images, labels = arrays
    yield images[..., None], labels


def idx_dataset(
    name: str, address: str, class_names: Sequence[str], contents: Mapping[str, str] | None = None
) -> OfficialDataset:
    """Describes a data set of 60,000 training and 10,000 test images in four files with the names of MNIST's.

    The name is that of tfds, too, whose checksums apply; the address ends with a slash. Unpacked files are read if
    their SHA-256 is given in `contents`, by name.
    """
    names = [f"{part}-{kind}" for part in PARTS.values() for kind in (IMAGES, LABELS)]
    if contents:
        files = [OfficialFile(f"{address}{plain}.gz", plain, {plain: contents[plain]}) for plain in names]
    else:
        files = [OfficialFile(f"{address}{plain}.gz") for plain in names]
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
