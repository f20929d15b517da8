"""From a prepared data set to arrays in memory: read, shrink, hold out a validation part."""

import dataclasses
from typing import Any

import numpy as np

from aux_rnn.config import DataConfig
from aux_rnn.datasets.builders import SequentialImages
from aux_rnn.datasets.download import first_line
from aux_rnn.datasets.preparing import prepare, unusable
from aux_rnn.datasets.registry import DatasetSpec, find_dataset, image_side, split_sizes
from aux_rnn.datasets.shrinking import shrink_images
from aux_rnn.sequences import make_permutation

# Examples read at a time: bounds the memory for examples that are decoded but not yet shrunk.
READ_EXAMPLES = 1_000


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled images in memory.

    Attributes:
      images: uint8 [N, H, W, C].
      labels: int32 [N].
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Splits:
    """What to learn from, what to choose settings on, and what to report."""

    train: Examples
    validation: Examples
    test: Examples


def load_splits(config: DataConfig, seed: int) -> Splits:
    """Reads a data set, preparing it first if this was never done.

    Args:
      config: which data, and how much of it.
      seed: decides, with the size of the training split alone, which examples are held out for validation.

    Returns:
      The three splits; 'validation' is empty if `validation_fraction` is 0.

    Raises:
      ConfigError: a setting does not fit the data.
      DataError: the data cannot be had, read or stored.
    """
    spec, side, sizes = find_dataset(config), image_side(config), split_sizes(config)
    train_rows, validation_rows = divide_rows(spec.train_examples, sizes.validation, seed)
    builder = prepare(config)
    train, test = open_split(builder, "train", spec.train_examples), open_split(builder, "test", spec.test_examples)
    return Splits(
        train=read_examples(train, train_rows[: sizes.train], spec, side),
        validation=read_examples(train, validation_rows, spec, side),
        test=read_examples(test, np.arange(len(test)), spec, side),
    )


def divide_rows(count: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides the rows 0 .. count - 1 at random.

    Returns:
      int64 [count - held_out] and [held_out], both in random order, so that any beginning of them is a random sample.
    """
    order = make_permutation(count, seed)
    return order[held_out:], order[:held_out]


def open_split(builder: SequentialImages, split: str, count: int) -> Any:
    """The records of a split, of which there must be `count`; raises DataError otherwise."""
    try:
        records = builder.as_data_source(split)
        found = len(records)
    except Exception as error:  # array_record and tfds raise many kinds of errors for damaged files
        raise unusable(builder.data_dir, first_line(error)) from error
    if found != count:
        raise unusable(builder.data_dir, f"{split} has {found:,} examples instead of {count:,}")
    return records


def read_examples(records: Any, rows: np.ndarray, spec: DatasetSpec, side: int) -> Examples:
    """Reads the given rows, in increasing order, and shrinks the images.

    Args:
      records: a split as tfds opens it.
      rows: integer [N].
      spec: the data set.
      side: height and width to shrink to.

    Raises:
      DataError: a record is damaged.
    """
    rows = np.sort(rows)
    images = np.empty((len(rows), side, side, spec.image_shape[2]), np.uint8)
    labels = np.empty(len(rows), np.int32)
    for start in range(0, len(rows), READ_EXAMPLES):
        piece = slice(start, start + READ_EXAMPLES)
        try:
            examples = records.__getitems__(rows[piece].tolist())
            images[piece] = shrink_images(np.stack([example["image"] for example in examples]), side)
            labels[piece] = [example["label"] for example in examples]
        except Exception as error:  # as in `open_split`
            raise unusable(records.dataset_info.data_dir, first_line(error)) from error
    return Examples(images, labels)
