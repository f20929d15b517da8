"""`--mode=prepare` prints what is found in a data set."""

import re

import pytest
from absl import flags
from modes.data_report import report_data
from official import official_config, write_dbpedia

from aux_rnn.config.settings import DataConfig
from experiments import main


def test_the_report_of_a_text(tmp_path):
    write_dbpedia(tmp_path / "manual")
    config = official_config(tmp_path, "dbpedia")
    *lines, time = report_data(config, seed=0).splitlines()
    assert [re.sub(" {2,}", "|", line) for line in lines if "folder" not in line] == [
        "data set|dbpedia",
        "sequences|at most 1,014 steps, each one of 256 bytes",
        "texts|1 to 1,014 bytes long, median 737",
        "examples|60 train, 0 validation, 3 test",
        "classes|14",
        "smallest|Class5, 4 training and validation examples",
        "largest|Company, 5",
        "a part|60 of 560,000 training and 3 of 70,000 test examples",
    ]
    assert str(tmp_path / "data/sequential_dbpedia/1.0.0") in "".join(lines)
    assert time.endswith("s, prepared now")
    assert report_data(config, seed=0).endswith("s, prepared before")


def test_the_report_of_a_data_set_without_files():
    report = report_data(DataConfig(dataset="digits_text"), seed=0)
    for line in (
        "folder      needs no files",
        "texts       45 to 64 bytes long, median 57",
        "examples    1,293 train, 144 validation, 360 test",
        "smallest    8, 141 training and validation examples",
        "largest     1, 146",
    ):
        assert line in report.splitlines()
    assert "a part" not in report


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
