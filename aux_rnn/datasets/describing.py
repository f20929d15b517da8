"""Facts about a data set, for `--mode=prepare`."""

import dataclasses
import time
from pathlib import Path

import numpy as np

from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import arrays
from aux_rnn.datasets.examples import Splits
from aux_rnn.datasets.loading import load_splits
from aux_rnn.datasets.registry import SplitSizes, find_dataset


@dataclasses.dataclass(frozen=True)
class DataDescription:
    """A prepared data set, divided as the settings say.

    Attributes:
      dataset: its name.
      folder: where it lies; None if it needs no files.
      was_prepared: whether it was prepared before.
      seconds: time to prepare, if necessary, and to read it.
      spec: the shape of its sequences.
      lengths: elements of the shortest, the median and the longest sequence; None if they are not padded.
      sizes: examples of each split.
      published: training and test examples as published.
      stored: training and test examples that were found.
      test_split: name of the test split where it lies.
      smallest, largest: (name, examples) of the smallest and the largest class, of the training and validation
        examples.
    """

    dataset: str
    folder: Path | None
    was_prepared: bool
    seconds: float
    spec: SequenceSpec
    lengths: tuple[int, int, int] | None
    sizes: SplitSizes
    published: tuple[int, int]
    stored: tuple[int, int]
    test_split: str
    smallest: tuple[str, int]
    largest: tuple[str, int]


def describe_data(config: DataConfig, seed: int) -> DataDescription:
    """Prepares a data set if this was never done, reads all of it, and describes it.

    Raises:
      ConfigError, DataError: see `load_splits`.
    """
    start = time.monotonic()
    dataset = find_dataset(config)
    was_prepared = dataset.is_prepared(config)
    splits, opened = load_splits(config, seed), dataset.open(config)
    labels = np.concatenate([splits.train.labels, splits.validation.labels])
    counts = np.bincount(labels, minlength=dataset.num_classes)
    smallest, largest = int(counts.argmin()), int(counts.argmax())
    return DataDescription(
        dataset=dataset.name,
        folder=opened.folder,
        was_prepared=was_prepared,
        seconds=time.monotonic() - start,
        spec=dataset.sequence_spec(config),
        lengths=measure_lengths(splits),
        sizes=SplitSizes(len(splits.train), len(splits.validation), len(splits.test)),
        published=(dataset.train_examples, dataset.test_examples),
        stored=(len(opened.open_split("train")), len(splits.test)),
        test_split=dataset.test_split,
        smallest=(opened.class_names[smallest], int(counts[smallest])),
        largest=(opened.class_names[largest], int(counts[largest])),
    )


def class_names(config: DataConfig) -> list[str]:
    """Returns the names of the classes of a data set, by label; raises the errors of `load_splits`."""
    return list(find_dataset(config).open(config).class_names)


def describe_form(config: DataConfig) -> arrays.Form:
    """Returns the form of the sequences of a data set; raises the errors of `load_splits`.

    The classes are integers from 0, or the labels in a file of the user.
    """
    dataset = find_dataset(config)
    if config.dataset.startswith("file:"):
        # Here and not above, as in `find_dataset`.
        from aux_rnn.datasets.own_files import open_file

        return open_file(config).array_form
    spec, dtype = dataset.sequence_spec(config), np.dtype(dataset.form.dtype)
    classes, names = tuple(range(spec.num_classes)), tuple(class_names(config))
    is_padded = bool(spec.vocabulary_size)
    return arrays.Form(spec, dtype, is_padded, classes, names=names, permuted=dataset.permuted)


def measure_lengths(splits: Splits) -> tuple[int, int, int] | None:
    """Returns the elements of the shortest, the median and the longest sequence of all splits."""
    parts = [part.lengths for part in (splits.train, splits.validation, splits.test) if part.lengths is not None]
    if not parts:
        return None
    lengths = np.concatenate(parts)
    return int(lengths.min()), int(np.median(lengths)), int(lengths.max())
