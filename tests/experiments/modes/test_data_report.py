"""`--mode=prepare` prints what is found in a data set."""

import re

from modes.data_report import report_data
from official import official_config, write_dbpedia


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


def test_the_report_of_a_data_set_without_files(run_main):
    # Neither the segment (600) nor the batch (128) has anything to do with preparing.
    code, out, err = run_main("--mode=prepare", "--dataset=digits_text")
    assert (code, err) == (0, "")
    assert "a part" not in out
    expected = {
        "folder      needs no files",
        "texts       45 to 64 bytes long, median 57",
        "examples    1,293 train, 144 validation, 360 test",
        "smallest    8, 141 training and validation examples",
        "largest     1, 146",
    }
    assert expected <= set(out.splitlines())
