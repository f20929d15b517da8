"""MNIST: 70,000 handwritten digits of 28x28 pixels."""

from collections.abc import Iterator

import numpy as np

from aux_rnn.datasets.files import OfficialFile, Source, read_file, reporting_damage
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Files, OfficialDataset, Piece

ADDRESS = "https://storage.googleapis.com/cvdf-datasets/mnist/"
# SHA-256 of the unpacked files.
CONTENTS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes


def read_split(files: Files, split: str) -> Iterator[Piece]:
    part = "train" if split == "train" else "t10k"
    images, labels = files[f"{part}-images-idx3-ubyte.gz"], files[f"{part}-labels-idx1-ubyte.gz"]
    with reporting_damage(images):
        pixels = np.frombuffer(read_file(images), np.uint8, offset=IMAGES_HEADER).reshape(-1, 28, 28, 1)
    with reporting_damage(labels):
        digits = np.frombuffer(read_file(labels), np.uint8, offset=LABELS_HEADER)
    yield pixels, digits


DATASET = OfficialDataset(
    name="mnist",
    form=Images((28, 28, 1)),
    num_classes=10,
    train_examples=60_000,
    test_examples=10_000,
    source=Source(
        name="mnist",
        files=tuple(OfficialFile(f"{ADDRESS}{name}.gz", name, {name: digest}) for name, digest in CONTENTS.items()),
        checksums="mnist",
    ),
    read_split=read_split,
    read_class_names=lambda files: tuple("0123456789"),
)
