"""From a prepared data set to arrays in memory: read, shrink or pad, hold out a validation part."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from aux_rnn.config import DataConfig
from aux_rnn.datasets.examples import Examples, Splits
from aux_rnn.datasets.folders import unusable
from aux_rnn.datasets.preparing import prepare
from aux_rnn.datasets.readers import Reader
from aux_rnn.datasets.registry import SplitSizes, divide_examples, find_dataset, split_sizes
from aux_rnn.datasets.specs import DatasetSpec
from aux_rnn.errors import first_line
from aux_rnn.memory import available_system_bytes
from aux_rnn.sequences import make_permutation
from aux_rnn.settings import reject


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
    spec = find_dataset(config)
    reader = spec.make_reader(config)
    if known := split_sizes(config):  # what can be refused before the data is prepared
        check_room(config, known, reader.shape, available_system_bytes())
    builder = prepare(config)
    train, test = open_split(builder, "train", spec), open_split(builder, spec.test_split, spec)
    sizes = divide_examples(config, len(train), len(test))
    check_room(config, sizes, reader.shape, available_system_bytes())
    train_rows, validation_rows = divide_rows(len(train), sizes.validation, seed)
    if spec.test_split != "test":
        logging.warning("%s has no test split: its %s split is taken for it", spec.name, spec.test_split)
    return Splits(
        train=read_examples(train, train_rows[: sizes.train], spec, reader),
        validation=read_examples(train, validation_rows, spec, reader),
        test=read_examples(test, np.arange(len(test)), spec, reader),
    )


def check_room(config: DataConfig, sizes: SplitSizes, shape: tuple[int, ...], available: int | None) -> None:
    """Raises ConfigError if all examples, uint8 of a shape, take more memory than there is; None where none knows."""
    count = sizes.train + sizes.validation + sizes.test
    wanted = count * math.prod(shape)
    if available is None or wanted <= available:
        return
    name = next((n for n in ("sequence_length", "image_size") if getattr(config, n)), "train_examples")
    takes = f"{count:,} examples take {wanted / 2**30:,.1f} GiB and there are {available / 2**30:,.1f}"
    what_is_zero = " (0 takes all)" if name == "train_examples" else ""
    raise reject(name, getattr(config, name), f"smaller{what_is_zero}: {takes}")


def divide_rows(count: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides the rows 0 .. count - 1 at random.

    Returns:
      int64 [count - held_out] and [held_out], both in random order, so that any beginning of them is a random sample.
    """
    order = make_permutation(count, seed)
    return order[held_out:], order[:held_out]


def open_split(builder: tfds.core.DatasetBuilder, split: str, spec: DatasetSpec) -> Any:
    """The records of a split; raises DataError unless there are as many as there must be."""
    try:
        records = builder.as_data_source(split)
        found = len(records)
    except Exception as error:  # array_record and tfds raise many kinds of errors for damaged files
        raise unusable(builder.data_dir, first_line(error), spec.remedy) from error
    expected = spec.train_examples if split == "train" else spec.test_examples
    if found == 0 or (found != expected and not spec.may_be_a_part):
        reason = f"{split} has {found:,} examples instead of {expected:,}"
        raise unusable(builder.data_dir, reason, spec.remedy)
    return records


def read_examples(records: Any, rows: np.ndarray, spec: DatasetSpec, reader: Reader) -> Examples:
    """Reads the given rows, in increasing order.

    Args:
      records: a split as tfds opens it.
      rows: integer [N].
      spec: the data set.
      reader: makes arrays of the records, so many at a time that memory holds few of them at full size.

    Raises:
      DataError: a record is damaged.
    """
    rows = np.sort(rows)
    inputs = np.empty((len(rows), *reader.shape), np.uint8)
    labels = np.empty(len(rows), np.int32)
    lengths = np.empty(len(rows), np.int32) if reader.has_lengths else None
    for start in range(0, len(rows), reader.examples_at_once):
        piece = slice(start, start + reader.examples_at_once)
        try:
            examples = records.__getitems__(rows[piece].tolist())
            own_inputs, own_lengths = reader.arrange([example[reader.input_name] for example in examples])
            inputs[piece] = check_stored(own_inputs, inputs[piece])
            labels[piece] = check_labels([example[reader.label_name] for example in examples], spec.num_classes)
        except Exception as error:  # as in `open_split`
            raise unusable(records.dataset_info.data_dir, first_line(error), spec.remedy) from error
        if lengths is not None and own_lengths is not None:
            lengths[piece] = own_lengths
    return Examples(inputs, labels, lengths, rows)


def check_stored(stored: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The first array; raises ValueError unless it has the shape and type of the second, as NumPy would make it fit."""
    if stored.shape != wanted.shape or stored.dtype != wanted.dtype:
        raise ValueError(f"{stored.dtype} {stored.shape} is stored instead of {wanted.dtype} {wanted.shape}")
    return stored


def check_labels(labels: Sequence[Any], num_classes: int) -> Sequence[Any]:
    """The labels; raises ValueError if one is no class."""
    for label in labels:
        if not 0 <= label < num_classes:
            raise ValueError(f"label {label} is none of the {num_classes} classes")
    return labels
