"""Reading a data set into arrays: resizing or padding, and holding out a validation part."""

import dataclasses
import math

import numpy as np
from absl import logging

from aux_rnn.config.fields import reject
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import Dataset, OpenedDataset, Records
from aux_rnn.datasets.errors import reporting_damage
from aux_rnn.datasets.examples import Examples, Splits
from aux_rnn.datasets.permutation import make_permutation
from aux_rnn.datasets.registry import SplitSizes, divide_examples, find_dataset, split_sizes
from aux_rnn.system.memory import available_system_bytes

PIECE_ROWS = 64  # stored sequences that are read together; photographs may take megabytes each


def load_splits(config: DataConfig, seed: int) -> Splits:
    """Reads a data set, and prepares it first if this was never done.

    The seed decides, with the size of the training split alone, which examples are held out for validation. Raises
    ConfigError if a setting does not fit the data, and DataError if the data cannot be found, read or stored.
    """
    dataset = find_dataset(config)
    if known := split_sizes(config):  # what can be refused before the data is prepared
        check_room(config, known, dataset)
    opened = dataset.open(config)
    train, test = opened.open_split("train"), opened.open_split(dataset.test_split)
    sizes = divide_examples(config, len(train), len(test))
    check_room(config, sizes, dataset)
    train_rows, validation_rows = divide_rows(len(train), sizes.validation, seed)
    if dataset.test_split != "test":
        logging.warning("%s has no test split; its %s split is used instead", dataset.name, dataset.test_split)

    def read(records: Records | Examples, rows: np.ndarray) -> Examples:
        rows = np.sort(rows)
        if isinstance(records, Examples):
            return dataclasses.replace(records.take(rows), ids=rows)
        return read_examples(records, rows, dataset, opened, config)

    return Splits(
        read(train, train_rows[: sizes.train]), read(train, validation_rows), read(test, np.arange(len(test)))
    )


def check_room(config: DataConfig, sizes: SplitSizes, dataset: Dataset) -> None:
    """Raises ConfigError if the examples take more memory than is available, where that is known."""
    count, available = sum(sizes), available_system_bytes()
    wanted = count * math.prod(dataset.form.shape(config)) * np.dtype(dataset.form.dtype).itemsize
    if available is None or wanted <= available:
        return
    name = next((n for n in ("sequence_length", "image_size") if getattr(config, n)), "train_examples")
    takes = f"{count:,} examples take {wanted / 2**30:,.1f} GiB and there are {available / 2**30:,.1f}"
    zero = " (0 takes all)" * (name == "train_examples")
    raise reject(name, getattr(config, name), f"smaller{zero}: {takes}")


def divide_rows(count: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides the rows 0 .. count - 1 at random into int64 [count - held_out] and [held_out], both in random order."""
    order = make_permutation(count, seed)
    return order[held_out:], order[:held_out]


def read_examples(
    records: Records, rows: np.ndarray, dataset: Dataset, opened: OpenedDataset, config: DataConfig
) -> Examples:
    """Reads the given rows, integer [N], in pieces, so that few sequences are in memory at their stored size."""
    form, shape = dataset.form, dataset.form.shape(config)
    inputs, labels = np.empty((len(rows), *shape), form.dtype), np.empty(len(rows), np.int32)
    lengths = np.empty(len(rows), np.int32) if form.vocabulary_size else None
    for start in range(0, len(rows), PIECE_ROWS):
        piece = slice(start, start + PIECE_ROWS)
        with reporting_damage(opened.folder, opened.remedy):
            sequences, own_labels = records.read(rows[piece].tolist())
            arranged, own_lengths = form.arrange(sequences, shape)
            if arranged.shape != inputs[piece].shape or arranged.dtype != inputs.dtype:
                stored = f"{arranged.dtype} {arranged.shape}"
                raise ValueError(f"{stored} is stored instead of {inputs.dtype} {inputs[piece].shape}")
            if not np.isfinite(arranged).all():
                raise ValueError("a value is not finite")
            if strange := [label for label in own_labels if not 0 <= label < dataset.num_classes]:
                raise ValueError(f"label {strange[0]} is none of the {dataset.num_classes} classes")
        inputs[piece], labels[piece] = arranged, own_labels
        if lengths is not None and own_lengths is not None:
            lengths[piece] = own_lengths
    return Examples(inputs, labels, lengths, rows)
