"""Texts as sequences of bytes: DBpedia's short articles, and digits drawn in characters."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.datasets import archives, sources
from aux_rnn.datasets.builders import SequentialBuilder, SequentialDigits, load_grey_values
from aux_rnn.datasets.errors import DataError

# Bytes of each text, uint8 [n], and labels [N].
Texts = tuple[Sequence[np.ndarray], np.ndarray]

VOCABULARY_SIZE = 256
DBPEDIA_LONGEST = 1_014
DBPEDIA_CLASSES = "dbpedia_csv/classes.txt"
DBPEDIA_ARTICLES = {split: f"dbpedia_csv/{split}.csv" for split in ("train", "test")}
DIGITS_LONGEST = 64
CHARACTERS = " .:-=+*#%@"
PIECE_ROWS = 1_000
LARGEST_ROW = 1_000_000  # bytes


class SequentialTexts(SequentialBuilder):
    """Texts of unequal lengths, each at least one byte, with one label each."""

    input_name = "text"

    def input_feature(self) -> tfds.features.FeatureConnector:
        return tfds.features.Tensor(shape=(None,), dtype=np.uint8, encoding="bytes")


class SequentialDbpedia(SequentialTexts):
    """630,000 titles and abstracts of Wikipedia articles, the first 1,014 bytes of each."""

    source = sources.DBPEDIA
    class_names = (
        "Company",
        "EducationalInstitution",
        "Artist",
        "Athlete",
        "OfficeHolder",
        "MeanOfTransportation",
        "Building",
        "NaturalPlace",
        "Village",
        "Animal",
        "Plant",
        "Album",
        "Film",
        "WrittenWork",
    )
    description = "DBpedia ontology: title and abstract of Wikipedia articles as UTF-8, the first 1,014 bytes."
    homepage = "https://huggingface.co/datasets/fancyzhx/dbpedia_14"

    def inspect_files(self) -> None:
        assert self.files is not None
        archive = self.files[sources.DBPEDIA_ARCHIVE]
        # Read to its end, where its own checksum is: there is no published one against a flipped bit.
        content = archives.read_small_members(archive, [DBPEDIA_CLASSES], DBPEDIA_ARTICLES.values())[DBPEDIA_CLASSES]
        classes = content.decode(errors="replace").split()
        if classes != list(self.class_names):
            expected = f"the {len(self.class_names)} from {self.class_names[0]} to {self.class_names[-1]}"
            found = f"{len(classes)} classes ({', '.join(classes)[:80]})"
            raise DataError(f"{archive}: {DBPEDIA_CLASSES} names {found} instead of {expected}")

    def read_split(self, split: str) -> Iterator[Texts]:
        assert self.files is not None
        archive, member = self.files[sources.DBPEDIA_ARCHIVE], DBPEDIA_ARTICLES[split]
        rows = parse_articles(read_rows(archive, member), f"{archive}: {member}", len(self.class_names))
        while piece := list(itertools.islice(rows, PIECE_ROWS)):
            yield [text for text, _ in piece], np.array([label for _, label in piece])


def read_rows(archive: Path, member: str) -> Iterator[list[str]]:
    """Yields the rows of a csv file inside a compressed tar archive, of which it holds one at a time.

    Raises:
      DataError: the archive or the csv file is damaged, or not there.
    """
    with archives.reporting_damage(archive):
        for entry in archives.iterate_wanted(archive, {member: archives.LARGEST_ARCHIVE}):
            yield from read_csv(entry.open(), f"{archive}: {member}")
            return
    archives.check_complete(archive, [member], [])


def read_csv(stream: IO[bytes], name: str) -> Iterator[list[str]]:
    """Yields the rows of a csv file.

    Raises:
      DataError: it is damaged, or a row is larger than any article, which shows before all of it is in memory.
    """
    complete, left = 0, LARGEST_ROW

    def read_lines() -> Iterator[str]:
        nonlocal left
        while line := stream.readline(left):
            left -= len(line)
            if left == 0:
                raise csv.Error(f"a row of {LARGEST_ROW:,} bytes or more")
            yield line.decode()

    try:
        for row in csv.reader(read_lines()):
            yield row
            complete, left = complete + 1, LARGEST_ROW
    except (csv.Error, UnicodeError) as error:
        raise DataError(f"{name}, row {complete + 1}: damaged ({error})") from error


def parse_articles(rows: Iterable[list[str]], name: str, num_classes: int) -> Iterator[tuple[np.ndarray, int]]:
    """Title and abstract of each row in one text.

    Args:
      rows: class from 1, title, abstract.
      name: what to call the file in an error.
      num_classes: K.

    Yields:
      The first 1,014 bytes of the text, uint8 [n] with n of at least 1, and its class from 0.

    Raises:
      DataError: a row has other columns or a class that there is not.
    """
    classes = {str(number): number - 1 for number in range(1, num_classes + 1)}
    for number, row in enumerate(rows, start=1):
        if len(row) != 3:
            raise DataError(f"{name}, row {number}: {len(row)} columns instead of class, title and abstract")
        label, title, abstract = row
        if label not in classes:
            raise DataError(f"{name}, row {number}: class {label[:20]!r} is none of 1 to {num_classes}")
        text = f"{title} {abstract}".encode()[:DBPEDIA_LONGEST]
        yield np.frombuffer(text, np.uint8), classes[label]


class SequentialDigitsText(SequentialTexts):
    """scikit-learn's 1,797 digits drawn in characters: texts of unequal lengths that need no files."""

    class_names = SequentialDigits.class_names
    description = "Handwritten digits of 8x8 pixels from scikit-learn, drawn in characters row by row."
    homepage = SequentialDigits.homepage

    def read_split(self, split: str) -> Iterator[Texts]:
        greys, labels = load_grey_values(split)
        yield [np.frombuffer(draw_digit(grey), np.uint8) for grey in greys], labels


def draw_digit(greys: np.ndarray) -> bytes:
    """An image of grey values from 0 to 16, integer [H, W], as text: a line a row, without blanks at its end."""
    # The nearest of the ten levels, halves upwards.
    levels = (greys * (len(CHARACTERS) - 1) + 8) // 16
    return "\n".join("".join(CHARACTERS[level] for level in row).rstrip() for row in levels).encode()
