"""The data sets as tfds builders.

They are written as array_record, which needs no TensorFlow, with images as raw bytes, which are read several times
faster than PNG, and in the order of the official files, so that example i is the authors' example i. The class names
are ours: a folder prepared by the tfds catalogue's own `mnist` or `cifar10` is never taken for one of these.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.datasets import archives, parsing, sources
from aux_rnn.datasets.errors import DataError

# Images uint8 [N, H, W, C] and labels [N].
Arrays = tuple[np.ndarray, np.ndarray]

# Sequences of equal or unequal shapes.
Sequences = np.ndarray | Sequence[np.ndarray]

# Where the prepared data says whether it was made of the published files.
ARE_PUBLISHED = "are_published"

DIGITS_FOR_TRAINING = 1_437


class LocalDatasetInfo(tfds.core.DatasetInfo):
    """Never asks Google's bucket of prepared data sets, which holds none of ours."""

    def initialize_from_bucket(self) -> None:
        pass


class SequentialBuilder(tfds.core.GeneratorBasedBuilder):
    """Sequences with one label each.

    A subclass gives the class attributes, the feature of a sequence and the sequences of each split.

    Attributes:
      files: the official files that it reads, set by `prepare`.
      are_published: whether they are the published ones, set by `prepare`.
    """

    VERSION = tfds.core.Version("1.0.0")

    source: ClassVar[sources.Source | None] = None
    input_name: ClassVar[str]
    class_names: ClassVar[tuple[str, ...]]
    description: ClassVar[str]
    homepage: ClassVar[str]

    files: Mapping[str, Path] | None = None
    are_published = True

    @abc.abstractmethod
    def input_feature(self) -> tfds.features.FeatureConnector:
        """How a sequence is stored."""

    @abc.abstractmethod
    def read_split(self, split: str) -> Iterator[tuple[Sequences, np.ndarray]]:
        """Yields inputs and labels of 'train' or 'test', in the official order and in pieces that fit into memory."""

    def inspect_files(self) -> None:
        """Looks through the files before anything is written; raises DataError if they are not complete."""

    def label_feature(self) -> tfds.features.ClassLabel:
        return tfds.features.ClassLabel(names=self.class_names)

    # The two announcements that tfds prints: a library leaves the terminal to its caller.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass

    def _info(self) -> tfds.core.DatasetInfo:
        features = {self.input_name: self.input_feature(), "label": self.label_feature()}
        may_be_a_part = self.source is not None and self.source.accepts_parts
        return LocalDatasetInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=(self.input_name, "label"),
            homepage=self.homepage,
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict() if may_be_a_part else None,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        if self.source is not None and self.files is None:
            raise DataError(f"{self.name}: prepare it with aux_rnn.datasets.prepare, which finds the official files")
        if self.info.metadata is not None:
            self.info.metadata[ARE_PUBLISHED] = self.are_published
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        count, num_classes = 0, self.info.features["label"].num_classes
        for inputs, labels in self.read_split(split):
            parsing.check_examples(inputs, labels, num_classes, f"{split} split of {self.name}")
            for sequence, label in zip(inputs, labels, strict=True):
                yield count, {self.input_name: sequence, "label": int(label)}
                count += 1
        if count == 0:
            raise DataError(f"{split} split of {self.name}: has no examples")


class SequentialImages(SequentialBuilder):
    """Images of one size with one label each."""

    input_name = "image"
    image_shape: ClassVar[tuple[int, int, int]]

    def input_shape(self) -> tuple[int, int, int]:
        """(H, W, C); a subclass whose configurations differ in it overrides this."""
        return self.image_shape

    def input_feature(self) -> tfds.features.FeatureConnector:
        return tfds.features.Tensor(shape=self.input_shape(), dtype=np.uint8, encoding="bytes")

    @abc.abstractmethod
    def read_split(self, split: str) -> Iterator[Arrays]:
        """See `SequentialBuilder`."""


class SequentialDigits(SequentialImages):
    """1,797 handwritten digits, 8x8, bundled with scikit-learn; it has no official split."""

    image_shape = (8, 8, 1)
    class_names = tuple("0123456789")
    description = (
        "Handwritten digits of 8x8 pixels from scikit-learn: the first 1,437 for training, the last 360 for testing."
    )
    homepage = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"

    def read_split(self, split: str) -> Iterator[Arrays]:
        greys, labels = load_grey_values(split)
        # 255 / 16 is not whole, so the values are rounded.
        yield np.rint(greys * (255 / 16)).astype(np.uint8)[..., None], labels


def load_grey_values(split: str) -> Arrays:
    """scikit-learn's digits: how many of the 16 pixels of each 4x4 block are set, int64 [N, 8, 8], and labels [N]."""
    # Here and not above: scikit-learn takes seconds to import, and a prepared data set does without it.
    from sklearn.datasets import load_digits

    greys, labels = load_digits(return_X_y=True)
    rows = slice(DIGITS_FOR_TRAINING) if split == "train" else slice(DIGITS_FOR_TRAINING, None)
    return greys[rows].astype(np.int64).reshape(-1, 8, 8), labels[rows]


class SequentialMnist(SequentialImages):
    """70,000 handwritten digits, 28x28."""

    source = sources.MNIST
    image_shape = (28, 28, 1)
    class_names = tuple("0123456789")
    description = "MNIST: handwritten digits of 28x28 pixels."
    homepage = "http://yann.lecun.com/exdb/mnist/"

    def read_split(self, split: str) -> Iterator[Arrays]:
        assert self.files is not None
        train = split == "train"
        images = self.files[sources.MNIST_TRAIN_IMAGES if train else sources.MNIST_TEST_IMAGES]
        labels = self.files[sources.MNIST_TRAIN_LABELS if train else sources.MNIST_TEST_LABELS]
        yield parsing.read_idx(images, (0, 28, 28))[..., None], parsing.read_idx(labels, (0,))


class SequentialCifar10(SequentialImages):
    """60,000 colour photographs, 32x32."""

    source = sources.CIFAR10
    image_shape = (32, 32, 3)
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    description = "CIFAR-10: colour photographs of 32x32 pixels in ten classes."
    homepage = "https://www.cs.toronto.edu/~kriz/cifar.html"

    def read_split(self, split: str) -> Iterator[Arrays]:
        for name, content in self._read_batches(sources.CIFAR10_TRAIN if split == "train" else sources.CIFAR10_TEST):
            yield parsing.parse_cifar_batch(content, name)

    def _read_batches(self, names: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        """Yields name and content of each file, from the archive or from its unpacked folder, in the given order."""
        assert self.files is not None
        if sources.CIFAR10_ARCHIVE in self.files:
            members = {f"{sources.CIFAR10_FOLDER}/{name}": sources.CIFAR10_BATCH_BYTES for name in names}
            # The archive has them in another order than their numbers: all of a split are held to sort them.
            yield from sorted(archives.read_members(self.files[sources.CIFAR10_ARCHIVE], members))
        else:
            for name in names:
                yield name, self.files[name].read_bytes()
