"""Finding a data set by its name, dividing it into splits, and reading these into arrays."""

import dataclasses
import importlib
import math
import pkgutil
from typing import NamedTuple

import numpy as np
from absl import logging

from aux_rnn.config.fields import ConfigError, setting_error
from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import builtin
from aux_rnn.datasets.arrays import is_arrays
from aux_rnn.datasets.dataset import Dataset, OpenedDataset, Records, make_permutation
from aux_rnn.datasets.errors import reading
from aux_rnn.datasets.examples import Examples, Splits
from aux_rnn.system.memory import available_system_bytes

EMNIST = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
VARIANTS = {"emnist": [f"emnist/{name}" for name in EMNIST]}  # data sets of modules with several
PIECE_ROWS = 64  # stored sequences that are read together; photographs may take megabytes each


class SplitSizes(NamedTuple):
    """Examples of each split as a run uses them."""

    train: int
    validation: int
    test: int


def dataset_names() -> list[str]:
    """Returns the names of the data sets in `aux_rnn.datasets.builtin`, one per module except those of EMNIST."""
    modules = [module.name for module in pkgutil.iter_modules(builtin.__path__)]
    return [name for module in modules for name in VARIANTS.get(module, [module])]


def find_dataset(config: DataConfig) -> Dataset:
    """Returns the data set of a configuration, of which only the description is read.

    Raises ConfigError if there is none of this name, or a setting does not apply to it, and DataError if `tfds:NAME` or
    `file:PATH` cannot be read.
    """
    name = config.dataset
    # Imported here because tfds and pandas take a second each, and not every data set needs them.
    if name.startswith("tfds:"):
        from aux_rnn.datasets.prepared import open_prepared

        dataset: Dataset = open_prepared(config)
    elif name.startswith("file:"):
        from aux_rnn.datasets.own_files import open_file

        dataset = open_file(config)
    elif name in dataset_names():
        module = importlib.import_module(f"{builtin.__name__}.{name.partition('/')[0]}")
        dataset = module.DATASETS[name] if "/" in name else module.DATASET
    elif is_arrays(name):
        remedy = "call aux_rnn.fit there again, with the same workdir"
        raise ConfigError(f"dataset={name}: arrays of a program, which are not kept; {remedy}")
    else:
        raise setting_error("dataset", name, f"one of {', '.join(dataset_names())}, tfds:NAME or file:PATH")
    for setting in ("padding", "channels"):
        if (value := getattr(config, setting)) != "auto" and not name.startswith("file:"):
            raise setting_error(setting, value, "auto (only the arrays of file:PATH may differ)")
    dataset.sequence_spec(config)
    return dataset


def sequence_spec(config: DataConfig) -> SequenceSpec:
    """Returns the shape of the sequences, without reading any example; raises the errors of `find_dataset`."""
    return find_dataset(config).sequence_spec(config)


def split_sizes(config: DataConfig) -> SplitSizes | None:
    """Returns the examples of each split, without reading any; None if the user may have a part of the data.

    Raises the errors of `divide_examples` and `find_dataset`.
    """
    dataset = find_dataset(config)
    return None if config.allow_partial else divide_examples(config, dataset.train_examples, dataset.test_examples)


def divide_examples(config: DataConfig, train: int, test: int) -> SplitSizes:
    """Returns the examples of each split, given the numbers of stored training and test examples.

    Raises ConfigError if fewer examples are left to train on than `train_examples` asks for, or none.
    """
    validation = round(train * config.validation_fraction)
    available = train - validation
    if available == 0:
        allowed = f"small enough to leave training data (all {train:,} examples of {config.dataset} are held out)"
        raise setting_error("validation_fraction", config.validation_fraction, allowed)
    if config.train_examples > available:
        held_out = f"{validation:,} of {train:,} are held out by validation_fraction={config.validation_fraction}"
        allowed = f"at most {available:,}, the training examples that {config.dataset} has ({held_out})"
        raise setting_error("train_examples", config.train_examples, allowed)
    return SplitSizes(config.train_examples or available, validation, test)


def split_rows(count: int, held_out: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides the rows 0 .. count - 1 at random into int64 [count - held_out] and [held_out], both in random order."""
    order = make_permutation(count, seed)
    return order[held_out:], order[:held_out]


def load_splits(config: DataConfig, seed: int) -> Splits:
    """Reads a data set, and prepares it first if this was never done.

    The seed decides, with the size of the training split alone, which examples are held out for validation. Raises
    ConfigError if a setting does not fit the data, and DataError if the data cannot be found, read or stored.
    """
    dataset = find_dataset(config)
    if known := split_sizes(config):  # what can be refused before the data is prepared
        check_memory(config, known, dataset)
    opened = dataset.open(config)
    train, test = opened.open_split("train"), opened.open_split(dataset.test_split)
    sizes = divide_examples(config, len(train), len(test))
    check_memory(config, sizes, dataset)
    train_rows, validation_rows = split_rows(len(train), sizes.validation, seed)
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


def check_memory(config: DataConfig, sizes: SplitSizes, dataset: Dataset) -> None:
    """Raises ConfigError if the examples take more memory than is available, where that is known."""
    count, available = sum(sizes), available_system_bytes()
    wanted = count * math.prod(dataset.form.shape(config)) * np.dtype(dataset.form.dtype).itemsize
    if available is None or wanted <= available:
        return
    name = next((n for n in ("sequence_length", "image_size") if getattr(config, n)), "train_examples")
    takes = f"{count:,} examples take {wanted / 2**30:,.1f} GiB and there are {available / 2**30:,.1f}"
    zero = " (0 takes all)" * (name == "train_examples")
    raise setting_error(name, getattr(config, name), f"smaller{zero}: {takes}")


def read_examples(
    records: Records, rows: np.ndarray, dataset: Dataset, opened: OpenedDataset, config: DataConfig
) -> Examples:
    """Reads the given rows, integer [N], in pieces, so that few sequences are in memory at their stored size."""
    form, shape = dataset.form, dataset.form.shape(config)
    inputs, labels = np.empty((len(rows), *shape), form.dtype), np.empty(len(rows), np.int32)
    lengths = np.empty(len(rows), np.int32) if form.vocabulary_size else None
    for start in range(0, len(rows), PIECE_ROWS):
        piece = slice(start, start + PIECE_ROWS)
        with reading(opened.folder, opened.remedy):
            sequences, own_labels = records.read(rows[piece].tolist())
            arranged, own_lengths = form.arrange(sequences, shape)
            if arranged.shape != inputs[piece].shape or arranged.dtype != inputs.dtype:
                stored = f"{arranged.dtype} {arranged.shape}"
                raise ValueError(f"{stored} is stored instead of {inputs.dtype} {inputs[piece].shape}")
            if not np.isfinite(arranged).all():
                raise ValueError("a value is not finite")
            if unknown := [label for label in own_labels if not 0 <= label < dataset.num_classes]:
                raise ValueError(f"label {unknown[0]} is none of the {dataset.num_classes} classes")
        inputs[piece], labels[piece] = arranged, own_labels
        if lengths is not None and own_lengths is not None:
            lengths[piece] = own_lengths
    return Examples(inputs, labels, lengths, rows)
