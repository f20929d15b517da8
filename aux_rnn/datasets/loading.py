"""From a prepared data set to arrays in memory: read, shrink or pad, hold out a validation part."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from aux_rnn.config import DataConfig
from aux_rnn.datasets.download import first_line
from aux_rnn.datasets.examples import Examples, Splits
from aux_rnn.datasets.folders import unusable
from aux_rnn.datasets.preparing import prepare
from aux_rnn.datasets.readers import Reader
from aux_rnn.datasets.registry import divide_examples, find_dataset, split_sizes
from aux_rnn.datasets.specs import DatasetSpec
from aux_rnn.sequences import make_permutation


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
    split_sizes(config)  # what can be refused before the data is prepared
    builder = prepare(config)
    train, test = open_split(builder, "train", spec), open_split(builder, spec.test_split, spec)
    sizes = divide_examples(config, len(train), len(test))
    train_rows, validation_rows = divide_rows(len(train), sizes.validation, seed)
    if spec.test_split != "test":
        logging.warning("%s has no test split: its %s split is taken for it", spec.name, spec.test_split)
    reader = spec.make_reader(config)
    return Splits(
        train=read_examples(train, train_rows[: sizes.train], spec, reader),
        validation=read_examples(train, validation_rows, spec, reader),
        test=read_examples(test, np.arange(len(test)), spec, reader),
    )


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
            inputs[piece], own_lengths = reader.arrange([example[reader.input_name] for example in examples])
            labels[piece] = [example[reader.label_name] for example in examples]
        except Exception as error:  # as in `open_split`
            raise unusable(records.dataset_info.data_dir, first_line(error), spec.remedy) from error
        if lengths is not None and own_lengths is not None:
            lengths[piece] = own_lengths
    strange = labels[(labels < 0) | (labels >= spec.num_classes)]
    if len(strange):
        reason = f"label {strange[0]} is none of the {spec.num_classes} classes"
        raise unusable(records.dataset_info.data_dir, reason, spec.remedy)
    return Examples(inputs, labels, lengths, rows)
