"""The data sets by name, and what is known of each before any file is read."""

import dataclasses

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import builders
from aux_rnn.settings import reject


@dataclasses.dataclass(frozen=True)
class DatasetSpec:
    """A data set of images read as sequences of pixels.

    Attributes:
      name: value of `--dataset`.
      builder: class that prepares it.
      image_shape: native (H, W, C) of an image.
      num_classes: K.
      train_examples: examples of the official training split, before a validation part is taken from it.
      test_examples: examples of the official test split.
      permuted: whether the pixels are read in one fixed random order.
    """

    name: str
    builder: type[builders.SequentialImages]
    image_shape: tuple[int, int, int]
    num_classes: int
    train_examples: int
    test_examples: int
    permuted: bool = False


SPECS = (
    DatasetSpec("digits", builders.SequentialDigits, (8, 8, 1), 10, 1_437, 360),
    DatasetSpec("mnist", builders.SequentialMnist, (28, 28, 1), 10, 60_000, 10_000),
    DatasetSpec("pmnist", builders.SequentialMnist, (28, 28, 1), 10, 60_000, 10_000, permuted=True),
    DatasetSpec("cifar10", builders.SequentialCifar10, (32, 32, 3), 10, 50_000, 10_000),
)

DATASETS = {spec.name: spec for spec in SPECS}


@dataclasses.dataclass(frozen=True)
class SplitSizes:
    """Examples of each split as a run uses them."""

    train: int
    validation: int
    test: int


def find_dataset(config: DataConfig) -> DatasetSpec:
    """The data set of a configuration.

    Raises:
      ConfigError: there is none of this name, or `image_size` is larger than its images.
    """
    if config.dataset not in DATASETS:
        raise reject("dataset", config.dataset, f"one of {', '.join(DATASETS)}")
    spec = DATASETS[config.dataset]
    if config.image_size > spec.image_shape[0]:
        allowed = f"at most {spec.image_shape[0]}, the side of the images of {spec.name} (0 keeps it)"
        raise reject("image_size", config.image_size, allowed)
    return spec


def image_side(config: DataConfig) -> int:
    """Side in pixels of the images after shrinking. Raises ConfigError as `find_dataset` does."""
    return find_dataset(config).image_shape[0] if config.image_size == 0 else config.image_size


def sequence_spec(config: DataConfig) -> SequenceSpec:
    """The shape of the sequences, without reading any file. Raises ConfigError as `find_dataset` does."""
    spec = find_dataset(config)
    return SequenceSpec(length=image_side(config) ** 2, channels=spec.image_shape[2], num_classes=spec.num_classes)


def split_sizes(config: DataConfig) -> SplitSizes:
    """How many examples each split has, without reading any file.

    Raises:
      ConfigError: as `find_dataset` does, or when fewer examples are left to train on than `train_examples` asks for.
    """
    spec = find_dataset(config)
    validation = round(spec.train_examples * config.validation_fraction)
    available = spec.train_examples - validation
    if available == 0:
        allowed = (
            f"small enough to leave training data (all {spec.train_examples:,} examples of {spec.name} are held out)"
        )
        raise reject("validation_fraction", config.validation_fraction, allowed)
    if config.train_examples > available:
        held_out = f"{validation:,} of {spec.train_examples:,} are held out by --validation_fraction"
        allowed = f"at most {available:,}, the training examples that {spec.name} has ({held_out})"
        raise reject("train_examples", config.train_examples, allowed)
    return SplitSizes(config.train_examples or available, validation, spec.test_examples)
