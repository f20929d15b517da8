"""Data in a file of the user: `--dataset=file:mine.npz`, `.ts` of the UCR/UEA archive, or `.csv` and `.tsv`."""

import functools
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.arrays import read_arrays
from aux_rnn.datasets.dataset import OpenedDataset, ReadyDataset
from aux_rnn.datasets.errors import DataError, reading
from aux_rnn.datasets.forms import StoredForm

NAMES = ("inputs", "labels", "lengths")
TEST_NAMES = tuple(f"test_{name}" for name in NAMES)
LABEL_COLUMNS = ("label", "labels", "class", "target", "y")
Part = tuple[Any, ...]  # inputs, labels and, in .npz files, lengths or None


def open_file(config: DataConfig) -> ReadyDataset:
    """Reads the data set that `file:PATH` denotes, with the test examples of NAME_TEST.ts for NAME_TRAIN.ts.

    Raises DataError if the file is missing or damaged, or its arrays are not sequences and labels.
    """
    path = Path(os.path.expanduser(config.dataset.removeprefix("file:")))
    if path.suffix.lower() not in READERS:
        raise DataError(f"dataset={config.dataset}: must be a file {', '.join(READERS)}")
    with reading(f"dataset={config.dataset}"):
        test = path.with_name(path.name.replace("_TRAIN.", "_TEST."))
        paths = [path, test] if path.suffix.lower() != ".npz" and test != path and test.is_file() else [path]
        identity = tuple((each, each.stat().st_mtime_ns, each.stat().st_size) for each in paths)
        return read_files(config.dataset, identity, config.padding, config.channels)


@functools.lru_cache(maxsize=2)
def read_files(name: str, identity: tuple[tuple[Path, int, int], ...], padding: str, channels: str) -> ReadyDataset:
    """Reads a file and its test file, if there is one, again only if their times or sizes have changed."""
    path = identity[0][0]
    parts = [part for each, _, _ in identity for part in READERS[each.suffix.lower()](each)]
    is_first = {"auto": None, "first": True, "last": False}[channels] if path.suffix.lower() == ".npz" else False
    side = None if padding == "auto" else padding
    try:
        examples, form = read_arrays(*parts[0], padding=side, channels_first=is_first)
        reported = form.read(*parts[1], name="test ") if parts[1:] else examples.take(slice(0))  # type: ignore[misc]
    except DataError as error:
        # The settings of a file have other names and values than the arguments of `aux_rnn.fit`.
        text = re.sub(r"padding='(left|right)'", r"padding=\1", str(error))
        text = text.replace("channels_first=True", "channels=first").replace("channels_first=False", "channels=last")
        raise DataError(f"{path}: {text}") from error
    splits = {"train": examples, "test": reported}
    return ReadyDataset(
        name=name,
        form=StoredForm(examples.inputs.shape[1:], examples.inputs.dtype, form.spec.vocabulary_size),
        num_classes=form.spec.num_classes,
        train_examples=len(examples),
        test_examples=len(reported),
        opened=OpenedDataset([str(label) for label in form.classes], splits.__getitem__, path, form=form),
    )


def read_npz(path: Path) -> list[Part]:
    """Reads the arrays to train on and, if there are any, those to test on, in the order of `NAMES`."""
    with np.load(path, allow_pickle=False) as file:
        found = dict(file)
    parts = [NAMES, TEST_NAMES] if set(TEST_NAMES) & set(found) else [NAMES]
    needed = {name for names in parts for name in names[:2]}
    if (missing := needed - set(found)) or (unknown := set(found) - {*NAMES, *TEST_NAMES}):
        wrong = f"lacks {', '.join(sorted(missing))}" if missing else f"has unknown arrays {', '.join(sorted(unknown))}"
        raise DataError(f"{path}: {wrong}; must hold inputs, labels and, if needed, lengths, test_inputs, ...")
    return [tuple(found.get(name) for name in names) for names in parts]


def read_ts(path: Path) -> list[Part]:
    """Reads series float64 `[L, C]`, and the class of each as text, from a `.ts` file.

    After lines that begin with '@' or '#', every line is a series: the values of each channel, separated by commas, the
    channels and at last the class separated by colons. '?' and 'NaN' are missing values.
    """
    series, classes, has_data = [], [], False
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(map(str.strip, lines), start=1):
        words = line.lower().split()
        if not words or line.startswith("#"):
            continue
        if has_data:
            *channels, label = line.split(":")
            try:
                columns = [[float(v.strip().replace("?", "nan")) for v in channel.split(",")] for channel in channels]
                series.append(trim(np.array(columns, float).T))
            except ValueError as error:
                raise DataError(f"{path}: line {number}: {error}") from error
            classes.append(label.strip())
        elif words[0] == "@data":
            has_data = True
        elif words[0] == "@timestamps" and words[1:] != ["false"]:
            raise DataError(f"{path}: has time stamps; must hold values alone, at equal intervals")
        elif words[0] in ("@targetlabel", "@classlabel") and (words[0] == "@targetlabel" or words[1:2] != ["true"]):
            raise DataError(f"{path}: has no classes ({line[:40]}); must be a data set for classification")
    return [(series, classes)]


def read_csv(path: Path) -> list[Part]:
    """Reads one series per row, float64 `[L]`, and the label of each; empty cells at the end of a row make it shorter.

    The label is in the column that a header calls 'label', 'class', 'target' or 'y'; without a header, in the first
    column, as in the UCR archive. Commas, tabs, semicolons and blanks separate the cells.
    """
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    separator = next((mark for mark in ",\t;" if mark in first), r"\s+")
    read = functools.partial(pd.read_csv, path, sep=separator, skipinitialspace=True)
    cells = read(header=None, nrows=1).iloc[0, 1:]
    has_header = (cells.notna() & pd.to_numeric(cells, errors="coerce").isna()).any()
    table = read(header=0 if has_header else None)
    names = [name for name in table.columns if str(name).strip().lower() in LABEL_COLUMNS]
    if has_header and len(names) != 1:
        raise DataError(f"{path}: the header must call one column of labels {' or '.join(LABEL_COLUMNS)}")
    label = names[0] if has_header else table.columns[0]
    try:
        values = table.drop(columns=label).to_numpy(float)
    except ValueError as error:
        raise DataError(f"{path}: {error}; every column but that of the labels must hold numbers") from error
    return [([trim(row) for row in values], table[label].tolist())]


def trim(series: np.ndarray) -> np.ndarray:
    """Returns a series `[L]` or `[L, C]` without the elements at its end that are missing in every channel."""
    present = np.flatnonzero(~np.isnan(series.reshape(len(series), -1)).all(axis=1))
    return series[: present[-1] + 1] if present.size else series[:0]


READERS = {".npz": read_npz, ".ts": read_ts, ".csv": read_csv, ".tsv": read_csv}
