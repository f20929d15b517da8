"""`--mode=prepare`: what is found in a data set, and how it is printed."""

import dataclasses
import re
from pathlib import Path

import pytest
from absl import flags

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import DataDescription, SplitSizes, describe_data
from aux_rnn.datasets.builders import ARE_PUBLISHED
from aux_rnn.datasets.describing import describe_origin
from aux_rnn.datasets.registry import DATASETS
from experiments import main
from experiments.data_report import format_description

FOUND = DataDescription(
    dataset="dbpedia",
    folder=Path("/data/sequential_dbpedia/1.0.0"),
    was_prepared=False,
    seconds=1.26,
    spec=SequenceSpec(1014, 1, 14, 256),
    text_lengths=(3, 290, 1014),
    sizes=SplitSizes(9_000, 1_000, 500),
    test_split="test",
    smallest=("OfficeHolder", 826),
    largest=("Plant", 1_933),
    origin="not the published archive: 10,000 of 560,000 training, 500 of 70,000 test examples",
)


def test_the_report_of_a_text_is_neat():
    assert format_description(FOUND).splitlines() == [
        "data set    dbpedia",
        "folder      /data/sequential_dbpedia/1.0.0",
        "sequences   at most 1,014 steps, each one of 256 bytes",
        "texts       3 to 1,014 bytes long, median 290",
        "examples    9,000 train, 1,000 validation, 500 test",
        "classes     14",
        "smallest    OfficeHolder, 826 training and validation examples",
        "largest     Plant, 1,933",
        "data        not the published archive: 10,000 of 560,000 training, 500 of 70,000",
        "            test examples",
        "time        1.3 s, prepared now",
    ]


def test_the_report_of_images_says_what_stands_in_for_the_test_split():
    found = dataclasses.replace(
        FOUND, spec=SequenceSpec(25, 3, 2), text_lengths=None, test_split="validation", was_prepared=True
    )
    report = format_description(found)
    assert "sequences   25 steps x 3 channels" in report
    assert "500 test (its validation split)" in report
    assert report.endswith("1.3 s, prepared before")
    assert "texts" not in report


def test_a_data_set_is_prepared_once_and_measured(tmp_path):
    config = DataConfig(dataset="digits_text", data_dir=str(tmp_path))
    first, second = describe_data(config, seed=0), describe_data(config, seed=0)
    assert (first.was_prepared, second.was_prepared) == (False, True)
    assert dataclasses.replace(first, was_prepared=True, seconds=second.seconds) == second
    assert first.folder == tmp_path / "sequential_digits_text/1.0.0"
    assert first.sizes == SplitSizes(1293, 144, 360)
    assert first.text_lengths == (45, 57, 64)
    assert (first.smallest, first.largest) == (("8", 141), ("1", 146))
    assert first.origin == "needs no files"


class Prepared:
    """A builder as far as its origin goes."""

    def __init__(self, are_published, train, test):
        split = dataclasses.make_dataclass("Split", ["num_examples"])
        info = dataclasses.make_dataclass("Info", ["metadata", "splits"])
        self.info = info({ARE_PUBLISHED: are_published}, {"train": split(train), "test": split(test)})


@pytest.mark.parametrize(
    ("name", "are_published", "train", "expected"),
    [
        ("mnist", False, 60_000, "the published data, by its checksums"),
        ("stanford_dogs", True, 12_000, "the published data, by its checksums"),
        ("stanford_dogs", False, 12_000, "as many examples as published; no checksum confirms them"),
        ("stanford_dogs", False, 7, "not the published archive: 7 of 12,000 training, 8,580 of 8,580 test examples"),
    ],
)
def test_it_is_said_whether_the_data_is_the_published_one(name, are_published, train, expected):
    assert describe_origin(DATASETS[name], Prepared(are_published, train, 8_580)) == expected


@pytest.fixture
def run(capsys):
    def run_main(*arguments):
        flags.FLAGS.unparse_flags()
        flags.FLAGS.mark_as_parsed()
        return main.main(main.parse_flags(["main.py", "--mode=prepare", *arguments])), *capsys.readouterr()

    yield run_main
    flags.FLAGS.unparse_flags()
    flags.FLAGS.mark_as_parsed()


def test_preparing_from_the_command_line(run, tmp_path):
    # Neither the segment (600) nor the batch (128) has anything to do with preparing.
    arguments = ["--dataset=recall", "--sequence_length=5", f"--data_dir={tmp_path}"]
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert f"folder      {tmp_path}/sequential_recall/length_5/1.0.0" in lines
    assert "sequences   5 steps x 1 channel" in lines
    assert "examples    9,000 train, 1,000 validation, 1,000 test" in lines
    assert re.fullmatch(r"time        \d+\.\d s, prepared now", lines[-1])
    assert run(*arguments)[1].endswith("prepared before\n")


def test_what_cannot_be_prepared_gets_one_line(run, tmp_path):
    code, out, err = run("--dataset=dbpedia", f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "dbpedia_csv.tar.gz not found" in err
    code, out, err = run("--dataset=stanford_dogs", "--image_size=30")
    assert (code, out, err.count("\n")) == (2, "", 1)
