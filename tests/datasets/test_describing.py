"""`--mode=prepare`: what is found in a data set, and how it is printed."""

import dataclasses
import re
from pathlib import Path

import pytest
from absl import flags
from modes.data_report import format_description
from official import official_config, write_dbpedia

from aux_rnn.config.settings import DataConfig
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import DataDescription, SplitSizes, describe_data
from experiments import main

FOUND = DataDescription(
    dataset="dbpedia",
    folder=Path("/data/sequential_dbpedia/1.0.0"),
    was_prepared=False,
    seconds=1.26,
    spec=SequenceSpec(1014, 1, 14, 256),
    lengths=(3, 290, 1014),
    sizes=SplitSizes(9_000, 1_000, 500),
    published=(560_000, 70_000),
    stored=(10_000, 500),
    test_split="test",
    smallest=("OfficeHolder", 826),
    largest=("Plant", 1_933),
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
        "a part      10,000 of 560,000 training and 500 of 70,000 test examples",
        "time        1.3 s, prepared now",
    ]


def test_the_report_of_images_says_what_stands_in_for_the_test_split():
    found = dataclasses.replace(
        FOUND, spec=SequenceSpec(25, 3, 2), lengths=None, test_split="validation", was_prepared=True
    )
    report = format_description(found)
    assert "sequences   25 steps x 3 channels" in report
    assert "500 test (its validation split)" in report
    assert report.endswith("1.3 s, prepared before")
    assert "texts" not in report


def test_a_data_set_is_prepared_once_and_measured(tmp_path):
    write_dbpedia(tmp_path / "manual")
    config = official_config(tmp_path, "dbpedia")
    first, second = describe_data(config, seed=0), describe_data(config, seed=0)
    assert (first.was_prepared, second.was_prepared) == (False, True)
    assert dataclasses.replace(first, was_prepared=True, seconds=second.seconds) == second
    assert first.folder == tmp_path / "data/sequential_dbpedia/1.0.0"


def test_a_data_set_without_files_is_measured():
    found = describe_data(DataConfig(dataset="digits_text"), seed=0)
    assert found.folder is None
    assert found.sizes == SplitSizes(1293, 144, 360)
    assert found.lengths == (45, 57, 64)
    assert (found.smallest, found.largest) == (("8", 141), ("1", 146))
    assert "folder      needs no files" in format_description(found)


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
    assert "sequences   5 steps x 1 channel" in lines
    assert "examples    9,000 train, 1,000 validation, 1,000 test" in lines
    assert re.fullmatch(r"time        \d+\.\d s", lines[-1])


def test_what_cannot_be_prepared_gets_one_line(run, tmp_path):
    code, out, err = run("--dataset=dbpedia", f"--data_dir={tmp_path}/data", f"--manual_dir={tmp_path}")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "dbpedia_csv.tar.gz (or unpacked: dbpedia_csv) not found" in err
    code, out, err = run("--dataset=stanford_dogs", "--image_size=130")
    assert (code, out, err.count("\n")) == (2, "", 1)
