"""Data sets in the format of MNIST: idx files of 28x28 images and of labels, packed by gzip."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from aux_rnn.datasets.files import OfficialFile, Source, read_file, reporting_damage
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Files, OfficialDataset, Piece

IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes
PARTS = {"train": "train", "test": "t10k"}
NAMES = tuple(f"{part}-{kind}-ubyte" for part in PARTS.values() for kind in ("images-idx3", "labels-idx1"))
PACKED_ONLY = " (packed by gzip, as published; unpacked files have no published checksums and are not read)"


def read_images(content: bytes) -> np.ndarray:
    """Returns the images of an unpacked idx file, uint8 `[N, 28, 28, 1]`."""
    return np.frombuffer(content, np.uint8, offset=IMAGES_HEADER).reshape(-1, 28, 28, 1)


def read_labels(content: bytes) -> np.ndarray:
    """Returns the labels of an unpacked idx file, uint8 `[N]`."""
    return np.frombuffer(content, np.uint8, offset=LABELS_HEADER)


def read_split(files: Files, split: str) -> Iterator[Piece]:
    """Yields the examples of a split from its two files."""
    part = PARTS[split]
    images, labels = files[f"{part}-images-idx3-ubyte.gz"], files[f"{part}-labels-idx1-ubyte.gz"]
    with reporting_damage(images):
        pixels = read_images(read_file(images))
    with reporting_damage(labels):
        classes = read_labels(read_file(labels))
    yield pixels, classes


def idx_dataset(
    name: str, address: str, class_names: Sequence[str], contents: Mapping[str, str] | None = None
) -> OfficialDataset:
    """Describes a data set of 60,000 training and 10,000 test images in four files with the names of MNIST's.

    Args:
      name: of the data set, here and in tfds, whose checksums of the packed files apply.
      address: folder of the files, with a slash at the end.
      class_names: names of the classes, by label.
      contents: SHA-256 of the unpacked files by name; None if they are not published.
    """
    unpacked = contents or {}
    files = [
        OfficialFile(f"{address}{each}.gz", each if each in unpacked else "", {each: unpacked.get(each, "")})
        for each in NAMES
    ]
    get_names: Callable[[Files], Sequence[str]] = lambda files: class_names  # noqa: E731
    return OfficialDataset(
        name=name,
        form=Images((28, 28, 1)),
        num_classes=len(class_names),
        train_examples=60_000,
        test_examples=10_000,
        source=Source(name, tuple(files), checksums=name, remark="" if contents else PACKED_ONLY),
        read_split=read_split,
        read_class_names=get_names,
    )
