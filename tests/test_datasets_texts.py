"""Texts: DBpedia from small archives in the official layout, digits as text, padding."""

import csv
import io
import tarfile

import numpy as np
import pytest

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import DataError, find_dataset, load_splits, prepare, sequence_spec, split_sizes, texts
from aux_rnn.datasets.builders import load_grey_values
from aux_rnn.datasets.readers import TextReader
from aux_rnn.settings import ConfigError

CLASSES = "\n".join(texts.SequentialDbpedia.class_names).encode() + b"\n"
ARTICLES = {
    "train": [
        (number % 14 + 1, f"Title {number}", f'An "abstract", número {number}\n' * number) for number in range(60)
    ],
    "test": [(1, "", ""), (14, "A", "b"), (3, "", "x")],
}


def as_csv(rows):
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return stream.getvalue().encode()


def write_archive(folder, **changes):
    """Writes dbpedia_csv.tar.gz; changes are contents by file name without ending, None leaving the file out."""
    contents = {"classes": CLASSES, **{split: as_csv(rows) for split, rows in ARTICLES.items()}, **changes}
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "dbpedia_csv.tar.gz", "w:gz") as tar:
        for name, content in contents.items():
            if content is not None:
                member = tarfile.TarInfo(f"dbpedia_csv/{name}.{'txt' if name == 'classes' else 'csv'}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


@pytest.fixture
def manual_dir(tmp_path):
    write_archive(tmp_path / "manual" / "dbpedia")
    return tmp_path / "manual" / "dbpedia"


def text_config(tmp_path, **settings):
    folders = {"data_dir": str(tmp_path / "data"), "manual_dir": str(tmp_path / "manual")}
    return DataConfig(**{"dataset": "dbpedia", "validation_fraction": 0.0, **folders, **settings})


def read_back(examples):
    """The texts without their padding."""
    padded = zip(examples.inputs, examples.lengths, strict=True)
    return [row[len(row) - length :].tobytes() for row, length in padded]


@pytest.mark.parametrize("length", [0, 20, 1])
def test_articles_are_title_and_abstract_cut_and_padded_on_the_left(manual_dir, tmp_path, length):
    splits = load_splits(text_config(tmp_path, sequence_length=length), seed=0)
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


def test_only_the_beginning_of_a_long_article_is_stored(manual_dir, tmp_path):
    records = prepare(text_config(tmp_path)).as_data_source("train")
    assert max(len(f"{title} {abstract}".encode()) for _, title, abstract in ARTICLES["train"]) > 1014
    assert max(len(record["text"]) for record in records) == 1014


def test_the_reader_pads_on_the_left():
    padded, lengths = TextReader(3).arrange([np.array(text, np.uint8) for text in ([7], [1, 2, 3], [4, 5, 6, 8])])
    assert padded.tolist() == [[0, 0, 7], [1, 2, 3], [4, 5, 6]]
    assert lengths.tolist() == [1, 3, 3]


def test_texts_are_known_without_data():
    assert sequence_spec(DataConfig(dataset="dbpedia")) == SequenceSpec(1014, 1, 14, 256)
    assert sequence_spec(DataConfig(dataset="dbpedia", sequence_length=99)).length == 99
    assert sequence_spec(DataConfig(dataset="digits_text")) == SequenceSpec(64, 1, 10, 256)
    assert split_sizes(DataConfig(dataset="dbpedia")) is None
    assert split_sizes(DataConfig(dataset="digits_text")).test == 360


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 1015}, "--sequence_length=1015: must be at most 1,014, the bytes that dbpedia keeps"),
        ({"image_size": 8}, r"--image_size=8: must be 0 \(dbpedia has no images; see --sequence_length\)"),
        ({"dataset": "digits_text", "sequence_length": 65}, "--sequence_length=65: must be at most 64"),
        ({"dataset": "mnist", "sequence_length": 9}, r"--sequence_length=9: must be 0 \(the images of mnist decide"),
    ],
)
def test_settings_that_do_not_fit_are_refused_without_data(settings, message):
    with pytest.raises(ConfigError, match=message):
        find_dataset(DataConfig(**{"dataset": "dbpedia", **settings}))


ROWS = as_csv(ARTICLES["train"][:2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": ROWS + b'3,"two columns"\n'}, r"train.csv, row 3: 2 columns instead of class, title and abstract"),
        ({"train": ROWS + b"\n"}, r"train.csv, row 3: 0 columns instead"),
        ({"test": b'15,"a","b"\n'}, r"test.csv, row 1: class '15' is none of 1 to 14"),
        ({"test": b'0,"a","b"\n'}, r"test.csv, row 1: class '0' is none of 1 to 14"),
        ({"test": b'one,"a","b"\n'}, r"test.csv, row 1: class 'one' is none of 1 to 14"),
        ({"train": ROWS + b'1,"\xff","b"\n'}, r"train.csv, row \d: damaged \(.*utf-8"),
        ({"train": ROWS + b'1,"' + b"x" * 200_000}, r"train.csv, row 3: damaged \(field larger"),
        ({"train": b""}, "train split of sequential_dbpedia: has no examples"),
        ({"test": None}, r"dbpedia_csv.tar.gz: damaged, it lacks dbpedia_csv/test.csv"),
        ({"classes": None}, r"dbpedia_csv.tar.gz: damaged, it lacks dbpedia_csv/classes.txt"),
        ({"classes": b"Cats\nDogs\n"}, r"classes.txt names 2 classes \(Cats, Dogs\) instead of the 14 from Company"),
    ],
)
def test_damaged_articles_are_refused_and_nothing_is_prepared(tmp_path, changes, message):
    write_archive(tmp_path / "manual", **changes)
    with pytest.raises(DataError, match=message) as caught:
        prepare(text_config(tmp_path))
    assert "\n" not in str(caught.value)
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    write_archive(tmp_path / "manual")
    assert prepare(text_config(tmp_path)).is_prepared(), "nothing half-written is in the way"


def test_damaged_archives_are_refused(manual_dir, tmp_path):
    path = manual_dir / "dbpedia_csv.tar.gz"
    whole = path.read_bytes()
    for content in (whole[:-100], whole[:100], b"no archive", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"dbpedia_csv.tar.gz: damaged") as caught:
            prepare(text_config(tmp_path))
        assert "\n" not in str(caught.value)


def test_a_flipped_bit_of_an_archive_never_changes_a_text(manual_dir, tmp_path):
    path = manual_dir / "dbpedia_csv.tar.gz"
    whole = path.read_bytes()
    # Behind the header, whose time and system do not matter; most of these would be a text of other letters.
    for position in range(len(whole) // 2, len(whole), 37):
        content = bytearray(whole)
        content[position] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"dbpedia_csv.tar.gz: damaged") as caught:
            prepare(text_config(tmp_path))
        assert "\n" not in str(caught.value)


def test_a_link_in_place_of_the_articles_is_refused(tmp_path):
    (tmp_path / "manual").mkdir()
    with tarfile.open(tmp_path / "manual/dbpedia_csv.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("dbpedia_csv/classes.txt")
        member.size = len(CLASSES)
        tar.addfile(member, io.BytesIO(CLASSES))
        member = tarfile.TarInfo("dbpedia_csv/train.csv")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(DataError, match=r"damaged, dbpedia_csv/train.csv is not the expected regular file"):
        prepare(text_config(tmp_path))


def test_missing_articles_say_where_to_get_them_and_where_to_put_them(tmp_path):
    (tmp_path / "manual").mkdir()
    with pytest.raises(DataError) as caught:
        prepare(text_config(tmp_path))
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"dbpedia_csv.tar.gz not found in {tmp_path}/manual/dbpedia, {tmp_path}/manual",
        "it is not downloaded",
        "https://huggingface.co/datasets/fancyzhx/dbpedia_14",
        "name it with --manual_dir=FOLDER",
    ):
        assert part in message


# Digits as text.


def test_a_digit_is_drawn_row_by_row():
    greys = np.zeros((8, 8), np.int64)
    greys[0, 1], greys[1, :], greys[7] = 16, [0, 2, 4, 6, 8, 10, 12, 14], 1
    assert texts.draw_digit(greys).split(b"\n") == [b" @", b" .:-+*#%", *[b""] * 5, b"........"]


def test_digits_are_the_same_as_images_and_as_text(tmp_path):
    drawn, images = (
        load_splits(DataConfig(dataset=name, data_dir=str(tmp_path)), seed=3) for name in ("digits_text", "digits")
    )
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(drawn, split).labels, getattr(images, split).labels)
    greys, labels = load_grey_values("test")
    np.testing.assert_array_equal(drawn.test.labels, labels)
    assert read_back(drawn.test) == [texts.draw_digit(grey) for grey in greys]
    lengths = np.concatenate([split.lengths for split in (drawn.train, drawn.validation, drawn.test)])
    assert lengths.max() == texts.DIGITS_LONGEST
    assert len(set(lengths.tolist())) > 10
