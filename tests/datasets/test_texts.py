"""Texts: DBpedia from small archives in the official layout, digits as text, padding."""

import numpy as np
import pytest
from official import ARTICLES, as_csv, dbpedia_files, official_config, write_dbpedia, write_files
from properties import refused

from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import DataError, load_splits
from aux_rnn.datasets.builtin.digits import read_grey_values
from aux_rnn.datasets.builtin.digits_text import draw_digit


@pytest.fixture(scope="module", params=["archive", "folder"])
def dbpedia(request, tmp_path_factory):
    """Folders of a small DBpedia."""
    folder = tmp_path_factory.mktemp("dbpedia")
    if request.param == "archive":
        write_dbpedia(folder / "manual/dbpedia")
    else:
        write_files(folder / "manual/dbpedia_csv", dbpedia_files())
    return folder


def read_back(examples):
    """Returns the texts without their padding."""
    padded = zip(examples.inputs, examples.lengths, strict=True)
    return [row[len(row) - length :].tobytes() for row, length in padded]


@pytest.mark.parametrize("length", [0, 20])
def test_articles_are_title_and_abstract_cut_and_padded_on_the_left(dbpedia, length):
    splits = load_splits(official_config(dbpedia, "dbpedia", sequence_length=length), seed=0)
    longest = length or 1014
    for split, examples in (("train", splits.train), ("test", splits.test)):
        assert examples.inputs.shape == (len(ARTICLES[split]), longest)
        assert (examples.inputs.dtype, examples.lengths.dtype) == (np.uint8, np.int32)
        whole = [f"{title} {abstract}".encode() for _, title, abstract in ARTICLES[split]]
        assert read_back(examples) == [text[:longest] for text in whole]
        assert examples.labels.tolist() == [label - 1 for label, _, _ in ARTICLES[split]]
        for row, own in zip(examples.inputs, examples.lengths, strict=True):
            assert not row[: longest - own].any()
    assert splits.test.lengths[0] == 1, "an empty article is a blank"


ROWS = as_csv(ARTICLES["train"][:2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ROWS + b'3,"two columns"\n'}, "train.csv, row 3: 2 columns instead of class, title and abstract"),
        ({"test": b'15,"a","b"\n'}, "test.csv, row 1: class '15' is none of 1 to 14"),
        ({"test": b'one,"a","b"\n'}, "test.csv, row 1: class 'one' is none of 1 to 14"),
        ({"train": ROWS + b'1,"\xff","b"\n'}, "utf-8"),
        ({"train": ROWS + b'1,"' + b"x" * 200_000}, "field larger"),
        ({"test": None}, "there is no test.csv"),
        ({"train": "/etc/passwd"}, "there is no train.csv"),  # a link, which is not followed
        ({"classes": None}, "classes.txt"),
        ({"classes": b"Cats\nDogs\n"}, "classes.txt names 2 classes; must be the 14"),
    ],
)
def test_damaged_articles_are_refused_and_nothing_is_prepared(tmp_path, changes, message):
    path = write_dbpedia(tmp_path / "manual", **changes)
    with refused(DataError, str(path), message):
        load_splits(official_config(tmp_path, "dbpedia"), seed=0)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


def test_a_damaged_archive_never_changes_a_text(tmp_path):
    path = write_dbpedia(tmp_path / "manual")
    whole = path.read_bytes()
    # After the header of gzip, in which the time does not matter.
    places = range(len(whole) // 2, len(whole), len(whole) // 13)
    flipped = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places]
    for content in (whole[:-100], whole[:100], b"no archive", b"", *flipped):
        path.write_bytes(content)
        with refused(DataError, "dbpedia_csv.tar.gz: cannot be read"):
            load_splits(official_config(tmp_path, "dbpedia"), seed=0)


# Digits as text.


def test_a_digit_is_drawn_row_by_row():
    greys = np.zeros((8, 8), np.int64)
    greys[0, 1], greys[1, :], greys[7] = 16, [0, 2, 4, 6, 8, 10, 12, 14], 1
    assert draw_digit(greys).split(b"\n") == [b" @", b" .:-+*#%", *[b""] * 5, b"........"]


def test_digits_are_the_same_as_images_and_as_text():
    drawn, images = (load_splits(DataConfig(dataset=name), seed=3) for name in ("digits_text", "digits"))
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(drawn, split).labels, getattr(images, split).labels)
    greys, labels = read_grey_values("test")
    np.testing.assert_array_equal(drawn.test.labels, labels)
    assert read_back(drawn.test) == [draw_digit(grey) for grey in greys]
