"""Readers of labelled series in text files: `.ts` of the UCR/UEA archive, `.csv` and `.tsv` of one series per row."""

from pathlib import Path

import numpy as np
import pandas as pd

from aux_rnn.datasets.errors import DataError

LABEL_COLUMNS = ("label", "labels", "class", "target", "y")
Labelled = tuple[list[np.ndarray], list]


def read_ts(path: Path) -> Labelled:
    """Reads series float64 `[L, C]`, and the class of each as text, from a `.ts` file.

    After lines that begin with '@' or '#', every line is a series: the values of each channel, separated by commas, the
    channels and at last the class separated by colons. '?' and 'NaN' are missing values. Raises DataError for a file
    without classes or with time stamps, or that cannot be parsed.
    """
    series, classes, has_data = [], [], False
    for number, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        line = text.strip()
        words = line.lower().split()
        if not line or line.startswith("#"):
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
    return series, classes


def read_csv(path: Path) -> Labelled:
    """Reads one series per row, float64 `[L]`, and the label of each; empty cells at the end of a row make it shorter.

    The label is in the column that a header calls 'label', 'class', 'target' or 'y'; without a header, in the first
    column, as in the UCR archive. Commas, tabs, semicolons and blanks separate the cells. Raises DataError for a header
    without such a name, or a cell of a series that is no number.
    """
    with path.open(encoding="utf-8") as file:
        first = file.readline()
    separator = next((mark for mark in ",\t;" if mark in first), r"\s+")
    has_header = any(is_name(cell) for cell in first.strip().split(None if separator == r"\s+" else separator)[1:])
    table = pd.read_csv(path, sep=separator, header=0 if has_header else None, skipinitialspace=True)
    names = [name for name in table.columns if str(name).strip().lower() in LABEL_COLUMNS]
    if has_header and len(names) != 1:
        raise DataError(f"{path}: the header must call one column of labels {' or '.join(LABEL_COLUMNS)}")
    label = names[0] if has_header else table.columns[0]
    try:
        values = table.drop(columns=label).to_numpy(float)
    except ValueError as error:
        raise DataError(f"{path}: {error}; every column but that of the labels must hold numbers") from error
    return [trim(row) for row in values], table[label].tolist()


def is_name(cell: str) -> bool:
    """Returns whether a cell is neither a number nor empty."""
    try:
        return bool(cell.strip()) and bool(float(cell) * 0)
    except ValueError:
        return True


def trim(series: np.ndarray) -> np.ndarray:
    """Returns a series `[L]` or `[L, C]` without the elements at its end that are missing in every channel."""
    present = np.flatnonzero(~np.isnan(series.reshape(len(series), -1)).all(axis=1))
    return series[: present[-1] + 1] if present.size else series[:0]
