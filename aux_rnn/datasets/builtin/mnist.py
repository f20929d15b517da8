"""MNIST: 70,000 handwritten digits of 28x28 pixels, and the data sets that are published in its format, idx."""

import gzip
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from aux_rnn.datasets.errors import reading
from aux_rnn.datasets.files import OfficialFile, Source
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Example, Files, OfficialDataset

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


def read_split(files: Files, split: str) -> Iterator[Example]:
    """Yields the examples of a split from its two files."""
    arrays = []
    for path in (files[f"{PARTS[split]}-{kind}.gz"] for kind in (IMAGES, LABELS)):
        with reading(path):
            arrays.append(read_idx(path.read_bytes()))
    images, labels = arrays
    yield from zip(images[..., None], labels, strict=True)


def idx_dataset(
    name: str, address: str, class_names: Sequence[str], contents: Mapping[str, str] | None = None
) -> OfficialDataset:
    """Describes a data set of 60,000 training and 10,000 test images in four files with the names of MNIST's.

    The name is that of tfds, too, whose checksums apply; the address ends with a slash. Unpacked files are read if
    their SHA-256 is given in `contents`, by name.
    """
    names = [f"{part}-{kind}" for part in PARTS.values() for kind in (IMAGES, LABELS)]
    if contents:
        files = [OfficialFile(f"{plain}.gz", plain, {plain: contents[plain]}) for plain in names]
    else:
        files = [OfficialFile(f"{plain}.gz") for plain in names]
    return OfficialDataset(
        name=name,
        form=Images((28, 28, 1)),
        num_classes=len(class_names),
        train_examples=60_000,
        test_examples=10_000,
        source=Source(name, address, tuple(files), "" if contents else PACKED_ONLY),
        read_split=read_split,
        read_class_names=lambda files: class_names,
    )


# SHA-256 of the unpacked files.
CONTENTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}

DATASET = idx_dataset("mnist", "https://storage.googleapis.com/cvdf-datasets/mnist/", tuple("0123456789"), CONTENTS)
