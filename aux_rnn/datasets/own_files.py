"""Data in a file of the user: `--dataset=file:mine.npz`, `.csv`, `.tsv` or `.ts`."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import arrays
from aux_rnn.datasets.dataset import ArrayDataset
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.forms import StoredForm
from aux_rnn.datasets.series_files import read_csv, read_ts
from aux_rnn.errors import first_line

PREFIX = "file:"
NAMES = ("inputs", "labels", "lengths")
READERS = {".ts": read_ts, ".csv": read_csv, ".tsv": read_csv}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileDataset(ArrayDataset):
    """Examples of a file, in memory, and how their arrays were read."""

    array_form: arrays.Form

    def describe(self, config: DataConfig) -> arrays.Form:
        return self.array_form


def open_file(config: DataConfig) -> FileDataset:
    """Reads the data set that `file:PATH` denotes.

    Raises DataError if the file is missing or damaged, or its arrays are not sequences and labels.
    """
    path = Path(os.path.expanduser(config.dataset.removeprefix(PREFIX)))
    if path.suffix.lower() not in (".npz", *READERS):
        raise DataError(f"--dataset={config.dataset}: must be a file .npz, {', '.join(READERS)}")
    try:
        identity = tuple((each, each.stat().st_mtime_ns, each.stat().st_size) for each in (path, *find_test_file(path)))
        return read_file(config.dataset, identity, config.padding, config.channels)
    except DataError:
        raise
    except Exception as error:  # NumPy, zipfile and pandas raise many kinds of errors for damaged files
        raise DataError(f"--dataset={config.dataset}: cannot be read ({first_line(error)})") from error


def find_test_file(path: Path) -> list[Path]:
    """Returns the file of test examples, NAME_TEST.ts for NAME_TRAIN.ts; empty if there is none."""
    test = path.with_name(path.name.replace("_TRAIN.", "_TEST."))
    return [test] if path.suffix != ".npz" and test != path and test.is_file() else []


@functools.lru_cache(maxsize=2)
def read_file(name: str, identity: tuple[tuple[Path, int, int], ...], padding: str, channels: str) -> FileDataset:
    """Reads files, which are read again only if their times or sizes have changed."""
    path, *test_paths = [each for each, _, _ in identity]
    train: Sequence[Any]
    test: Sequence[Any] | None
    if path.suffix.lower() == ".npz":
        train, test = read_npz(path)
        channels_first = None if channels == "auto" else channels == "first"
    else:
        read = READERS[path.suffix.lower()]
        train, test = read(path), read(test_paths[0]) if test_paths else None
        channels_first = False
    try:
        side = None if padding == "auto" else padding
        examples, form = arrays.read_arrays(*train, padding=side, channels_first=channels_first)
        reported = examples.take(slice(0)) if test is None else form.read(*test, name="test ")  # type: ignore[misc]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return FileDataset(
        name=name,
        form=StoredForm(examples.inputs.shape[1:], examples.inputs.dtype, form.spec.vocabulary_size),
        num_classes=form.spec.num_classes,
        train_examples=len(examples),
        test_examples=len(reported),
        class_names=[str(label) for label in form.classes],
        read_split=lambda split, config: examples if split == "train" else reported,
        folder=path,
        array_form=form,
    )


def read_npz(path: Path) -> tuple[Sequence[Any], Sequence[Any] | None]:
    """Reads the arrays to train on and those to test on, in the order of `NAMES`; None if there are no test arrays."""
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    test_names = [f"test_{name}" for name in NAMES]
    needed = {"inputs", "labels", *(("test_inputs", "test_labels") if set(test_names) & set(found) else ())}
    if (missing := needed - set(found)) or (unknown := set(found) - {*NAMES, *test_names}):
        wrong = f"lacks {', '.join(sorted(missing))}" if missing else f"has unknown arrays {', '.join(sorted(unknown))}"
        raise DataError(f"{path}: {wrong}; must hold inputs, labels and, if needed, lengths, test_inputs, ...")
    train, test = ([found.get(name) for name in names] for names in (NAMES, test_names))
    return train, test if "test_inputs" in found else None
