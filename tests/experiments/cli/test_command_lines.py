"""The other programs on command lines that cannot work: one line, exit code 2, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from properties import assert_one_line

ROOT = Path(__file__).parents[3]

MISTAKES = [
    ("reproduce.py", ["table2", "--seeds=1000000000000000000"], "--seeds=1000000000000000000: "),
    ("reproduce.py", ["table2", "--nodry_run=3"], "--nodry_run=3: "),
    ("reproduce.py", ["table2", "--results=\udcff"], "--results=\\udcff: must be a folder"),
    ("benchmark.py", ["step", "--pairs=1000000000000000000"], "--pairs=1000000000000000000: "),
]


@pytest.mark.parametrize(("program", "arguments", "part"), MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(program, arguments, part, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "experiments" / program), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("\n")
    assert_one_line(done.stderr.removeprefix("error: ")[:-1], part)
