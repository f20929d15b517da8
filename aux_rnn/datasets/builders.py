"""The data sets as tfds builders.

They are written as array_record, which needs no TensorFlow, with images as raw bytes, which are read several times
faster than PNG, and in the order of the official files, so that example i is the authors' example i. The class names
are ours: a folder prepared by the tfds catalogue's own `mnist` or `cifar10` is never taken for one of these.
"""

import abc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.datasets import parsing, sources
from aux_rnn.datasets.errors import DataError

# Images uint8 [N, H, W, C] and labels [N].
Arrays = tuple[np.ndarray, np.ndarray]


class LocalDatasetInfo(tfds.core.DatasetInfo):
    """Never asks Google's bucket of prepared data sets, which holds none of ours."""

    def initialize_from_bucket(self) -> None:
        pass


class SequentialImages(tfds.core.GeneratorBasedBuilder):
    """Images of one size with one label each.

    A subclass gives the class attributes and the arrays of each split; `files` are the verified official files that it
    reads, set by `prepare`.
    """

    VERSION = tfds.core.Version("1.0.0")

    source: ClassVar[sources.Source | None] = None
    image_shape: ClassVar[tuple[int, int, int]]
    class_names: ClassVar[tuple[str, ...]]
    description: ClassVar[str]
    homepage: ClassVar[str]

    files: Mapping[str, Path] | None = None

    @abc.abstractmethod
    def read_split(self, split: str) -> Iterator[Arrays]:
        """Yields the split 'train' or 'test', in the official order and in pieces that fit into memory."""

    # The two announcements that tfds prints: a library leaves the terminal to its caller.
    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass

    def _info(self) -> tfds.core.DatasetInfo:
        return LocalDatasetInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=self.image_shape, dtype=np.uint8, encoding="bytes"),
                    "label": tfds.features.ClassLabel(names=self.class_names),
                }
            ),
            supervised_keys=("image", "label"),
            homepage=self.homepage,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        if self.source is not None and self.files is None:
            raise DataError(f"{self.name}: prepare it with aux_rnn.datasets.prepare, which finds the official files")
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        count = 0
        for images, labels in self.read_split(split):
            parsing.check_examples(images, labels, len(self.class_names), f"{split} split of {self.name}")
            for image, label in zip(images, labels, strict=True):
                yield count, {"image": image, "label": int(label)}
                count += 1


class SequentialDigits(SequentialImages):
    """1,797 handwritten digits, 8x8, bundled with scikit-learn; it has no official split."""

    image_shape = (8, 8, 1)
    class_names = tuple("0123456789")
    description = (
        "Handwritten digits of 8x8 pixels from scikit-learn: the first 1,437 for training, the last 360 for testing."
    )
    homepage = "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"
    train_examples = 1_437

    def read_split(self, split: str) -> Iterator[Arrays]:
        # Here and not above: scikit-learn takes seconds to import, and a prepared data set does without it.
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        # Grey values count 0 to 16 set pixels of a 4x4 block; 255 / 16 is not whole, so they are rounded.
        images = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, *self.image_shape)
        rows = slice(self.train_examples) if split == "train" else slice(self.train_examples, None)
        yield images[rows], labels[rows]


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
            yield from sorted(parsing.read_members(self.files[sources.CIFAR10_ARCHIVE], members))
        else:
            for name in names:
                yield name, self.files[name].read_bytes()
