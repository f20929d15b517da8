"""The data sets by name, and the sizes of their splits, before any example is read."""

import importlib
import pkgutil
from typing import NamedTuple

from aux_rnn.config.fields import ConfigError, reject
from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import arrays, builtin
from aux_rnn.datasets.dataset import Dataset

EMNIST = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
VARIANTS = {"emnist": [f"emnist/{name}" for name in EMNIST]}  # data sets of modules with several


class SplitSizes(NamedTuple):
    """Examples of each split as a run uses them."""

    train: int
    validation: int
    test: int


def dataset_names() -> list[str]:
    """Returns the names of the data sets in `aux_rnn.datasets.builtin`, one per module but for those of EMNIST."""
    modules = [module.name for module in pkgutil.iter_modules(builtin.__path__)]
    return [name for module in modules for name in VARIANTS.get(module, [module])]


def find_dataset(config: DataConfig) -> Dataset:
    """Returns the data set of a configuration, of which only the description is read.

    Raises ConfigError if there is none of this name, or a setting does not apply to it, and DataError if `tfds:NAME` or
    `file:PATH` cannot be read.
    """
    name = config.dataset
    if name.startswith("tfds:"):
        # Here and not above: tfds takes a second to import, and not every data set needs it.
        from aux_rnn.datasets.catalogue import open_catalogue

        dataset: Dataset = open_catalogue(config)
    elif name.startswith("file:"):
        # Here and not above: pandas takes a second to import.
        from aux_rnn.datasets.own_files import open_file

        dataset = open_file(config)
    elif name in dataset_names():
        module = importlib.import_module(f"{builtin.__name__}.{name.partition('/')[0]}")
        dataset = module.DATASETS[name] if "/" in name else module.DATASET
    elif arrays.is_arrays(name):
        remedy = "call aux_rnn.fit there again, with the same workdir"
        raise ConfigError(f"--dataset={name}: arrays of a program, which are not kept; {remedy}")
    else:
        raise reject("dataset", name, f"one of {', '.join(dataset_names())}, tfds:NAME or file:PATH")
    if (config.padding, config.channels) != ("auto", "auto") and not name.startswith("file:"):
        setting = "padding" if config.padding != "auto" else "channels"
        raise reject(setting, getattr(config, setting), "auto (only the arrays of file:PATH may differ)")
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
        raise reject("validation_fraction", config.validation_fraction, allowed)
    if config.train_examples > available:
        held_out = f"{validation:,} of {train:,} are held out by --validation_fraction"
        allowed = f"at most {available:,}, the training examples that {config.dataset} has ({held_out})"
        raise reject("train_examples", config.train_examples, allowed)
    return SplitSizes(config.train_examples or available, validation, test)
