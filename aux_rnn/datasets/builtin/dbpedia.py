"""DBpedia: 630,000 titles and abstracts of Wikipedia articles as UTF-8, the first 1,014 bytes of each."""

import csv
import gzip
import io
from collections.abc import Iterator

import numpy as np

from aux_rnn.datasets.errors import DataError, reading
from aux_rnn.datasets.files import OfficialFile, Source, read_member
from aux_rnn.datasets.forms import Texts
from aux_rnn.datasets.official import Example, Files, OfficialDataset

ARCHIVE = "dbpedia_csv.tar.gz"
MAX_BYTES = 1_014
NUM_CLASSES = 14


def read_class_names(files: Files) -> list[str]:
    """Checks the archive, which has no published checksum, and returns the names of the classes."""
    path = files[ARCHIVE]
    with reading(path):
        if path.is_file():
            with gzip.open(path) as stream:
                while stream.read(2**20):  # to the end, where the checksum of gzip is
                    pass
        names = read_member(path, "classes.txt").decode().split()
    if len(names) != NUM_CLASSES:
        raise DataError(f"{path}: classes.txt names {len(names)} classes; must be the {NUM_CLASSES} of DBpedia")
    return names


def read_split(files: Files, split: str) -> Iterator[Example]:
    path = files[ARCHIVE]
    with reading(path):
        content = io.BytesIO(read_member(path, f"{split}.csv"))
        rows = csv.reader(io.TextIOWrapper(content, encoding="utf-8", newline=""))
        for number, row in enumerate(rows, start=1):
            yield parse_article(row, f"{split}.csv, row {number}")


def parse_article(row: list[str], place: str) -> Example:
    """Converts class from 1, title and abstract to a text uint8 `[n]`, n of at least 1, and a label from 0."""
    if len(row) != 3:
        raise ValueError(f"{place}: {len(row)} columns instead of class, title and abstract")
    number, title, abstract = row
    if not (number.isdecimal() and 1 <= int(number) <= NUM_CLASSES):
        raise ValueError(f"{place}: class {number[:20]!r} is none of 1 to {NUM_CLASSES}")
    return np.frombuffer(f"{title} {abstract}".encode()[:MAX_BYTES], np.uint8), int(number) - 1


DATASET = OfficialDataset(
    name="dbpedia",
    form=Texts(longest=MAX_BYTES),
    num_classes=NUM_CLASSES,
    train_examples=560_000,
    test_examples=70_000,
    source=Source(
        name="dbpedia",
        address="",
        files=(OfficialFile(ARCHIVE, unpacked="dbpedia_csv"),),
        remark=": see https://huggingface.co/datasets/fancyzhx/dbpedia_14 for where Zhang, Zhao and LeCun published it",
    ),
    read_split=read_split,
    read_class_names=read_class_names,
)
