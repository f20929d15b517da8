"""The lists of Stanford Dogs: which photographs there are, and of which breeds."""

import zlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aux_rnn.datasets import archives, matlab
from aux_rnn.datasets.errors import DataError
from aux_rnn.errors import first_line

NUM_BREEDS = 120
LISTS = {"train": "train_list.mat", "test": "test_list.mat"}


class Photographs(NamedTuple):
    """One list: the members of images.tar and their breeds, int64 [N] from 0."""

    names: list[str]
    labels: np.ndarray


def read_lists(archive: Path) -> dict[str, Photographs]:
    """The lists of both splits.

    Raises:
      DataError: the archive is damaged, or a list does not have the published variables, names a photograph twice or
        has a breed under two labels.
    """
    contents = archives.read_small_members(archive, LISTS.values())
    lists = {split: parse_list(contents[name], f"{archive}: {name}") for split, name in LISTS.items()}
    names = [name for photographs in lists.values() for name in photographs.names]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{archive}: damaged, {name} is listed twice")
    check_breeds(archive, lists.values())
    return lists


def check_breeds(archive: Path, lists: Collection[Photographs]) -> None:
    """Raises DataError unless each breed has one label, each label one breed, and each of them a name of its own."""
    labels: dict[str, int] = {}
    breeds: dict[int, str] = {}
    for photographs in lists:
        for name, label in zip(photographs.names, photographs.labels.tolist(), strict=True):
            breed = name.split("/")[1]
            if labels.setdefault(breed, label) != label:
                raise DataError(f"{archive}: damaged, {breed} has the labels {labels[breed] + 1} and {label + 1}")
            if breeds.setdefault(label, breed) != breed:
                raise DataError(f"{archive}: damaged, the label {label + 1} is {breeds[label]} and {breed}")
    name, times = Counter(name_breeds(lists)).most_common(1)[0]
    if times > 1:
        raise DataError(f"{archive}: damaged, two labels are {name}")


def parse_list(content: bytes, name: str) -> Photographs:
    """Reads `file_list` and `labels` of a MATLAB file; `name` is what to call it in an error."""
    try:
        variables = matlab.read_variables(content, ("file_list", "labels"))
        files, numbers = variables["file_list"], variables["labels"]
        with np.errstate(invalid="ignore"):
            labels = np.asarray(numbers).astype(np.int64)
        if not isinstance(files, list) or isinstance(numbers, list) or (labels != numbers).any():
            raise ValueError("they are no texts and whole numbers")
    except (ValueError, KeyError, zlib.error) as error:
        raise DataError(f"{name}: damaged, no list of file_list and labels ({first_line(error)})") from error
    if not files or len(files) != len(labels):
        raise DataError(f"{name}: damaged, {len(files):,} files but {len(labels):,} labels")
    if labels.min() < 1 or labels.max() > NUM_BREEDS:
        wrong = next(label for label in labels if not 1 <= label <= NUM_BREEDS)
        raise DataError(f"{name}: damaged, label {wrong} is not from 1 to {NUM_BREEDS}")
    for file in files:
        breed, _, photograph = file.partition("/")
        if not breed.strip() == breed != "" or "/" in photograph or not photograph or not file.isprintable():
            raise DataError(f"{name}: damaged, {file!r} is not BREED/FILE")
    return Photographs([f"Images/{file}" for file in files], labels - 1)


def name_breeds(lists: Collection[Photographs]) -> list[str]:
    """The folder of each breed, in the order of the labels; a breed without photographs is called by its number."""
    names = [f"breed-{label + 1}" for label in range(NUM_BREEDS)]
    for photographs in lists:
        for name, label in zip(photographs.names, photographs.labels, strict=True):
            names[label] = name.split("/")[1]
    return names
