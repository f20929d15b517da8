"""The interface of a data set."""

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets.arrays import Form
from aux_rnn.datasets.examples import Examples
from aux_rnn.datasets.forms import StoredForm


@dataclasses.dataclass(frozen=True)
class Records:
    """The stored examples of a split: their number, and a function that reads sequences and labels by row."""

    count: int
    read: Callable[[Sequence[int]], tuple[Sequence[np.ndarray], Sequence[int] | np.ndarray]]

    def __len__(self) -> int:
        return self.count


def array_records(sequences: Sequence[np.ndarray] | np.ndarray, labels: np.ndarray) -> Records:
    """Returns records of examples in memory: N sequences, and labels `[N]`."""
    return Records(len(labels), lambda rows: ([sequences[row] for row in rows], labels[list(rows)]))


@dataclasses.dataclass(frozen=True)
class OpenedDataset:
    """A data set that is ready to be read.

    Attributes:
      class_names: names of the classes, by label.
      open_split: returns the records of 'train' or of the test split, or examples that need no conversion.
      folder: the prepared data, if there is any.
      remedy: instruction for a record that cannot be read.
      form: the form of arrays; None for other data, whose classes are integers from 0.
    """

    class_names: Sequence[str]
    open_split: Callable[[str], Records | Examples]
    folder: Path | None = None
    remedy: str = ""
    form: Form | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(abc.ABC):
    """A data set of labelled sequences.

    The name is the value of `--dataset`; the numbers of examples are those published, before a validation part is held
    out. If it is permuted, the elements of every sequence are read in one fixed random order.
    """

    name: str
    form: StoredForm
    num_classes: int
    train_examples: int
    test_examples: int
    test_split: str = "test"
    permuted: bool = False

    def sequence_spec(self, config: DataConfig) -> SequenceSpec:
        """Returns the shape of the sequences; raises ConfigError for settings that do not apply to this data set."""
        shape, vocabulary_size = self.form.shape(config), self.form.vocabulary_size
        length, channels = (shape[0], 1) if vocabulary_size else (math.prod(shape[:-1]), shape[-1])
        return SequenceSpec(length, channels, self.num_classes, vocabulary_size)

    @abc.abstractmethod
    def open(self, config: DataConfig) -> OpenedDataset:
        """Opens the data set, and prepares it if necessary; raises DataError, and ConfigError for a wrong folder."""

    def is_prepared(self, config: DataConfig) -> bool:
        """Returns whether `open` only has to read."""
        return True

    def describe(self, config: DataConfig) -> Form:
        """Returns the form of the sequences in memory; raises the errors of `open`."""
        opened, spec = self.open(config), self.sequence_spec(config)
        return opened.form or Form(
            spec,
            np.dtype(self.form.dtype),
            is_padded=bool(spec.vocabulary_size),
            classes=tuple(range(spec.num_classes)),
            names=tuple(opened.class_names),
            permuted=self.permuted,
        )

    def permutation(self, config: DataConfig) -> np.ndarray | None:
        """Returns the order `[L]` in which the elements are read; None for their own order."""
        if not self.permuted:
            return None
        return make_permutation(self.sequence_spec(config).length, config.permutation_seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReadyDataset(Dataset):
    """A data set that can be read at once, whatever the settings."""

    opened: OpenedDataset

    def open(self, config: DataConfig) -> OpenedDataset:
        return self.opened


def make_permutation(length: int, seed: int) -> np.ndarray:
    """Returns the permutation of `0 .. length - 1` for a seed, int64 `[length]`; the same on every machine."""
    # NumPy guarantees the raw output of a bit generator across versions; `Generator.permutation` may change.
    return np.argsort(np.random.PCG64(seed).random_raw(length), kind="stable")
