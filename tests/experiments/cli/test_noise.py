"""What C libraries write to standard output does not mix with what the program prints there."""

import os
import subprocess
import sys
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[3] / "experiments"

PROGRAM = """
import os
from cli.noise import results_alone
print("before")
with results_alone():
    os.write(1, b"[Gloo] Rank 0\\n")  # as a library does, past Python
    print("result")
print("after")
os.write(1, b"own\\n")
"""


def run(program, **variables):
    command, environment = [sys.executable, "-c", program], {**os.environ, **variables}
    return subprocess.run(command, cwd=EXPERIMENTS, env=environment, capture_output=True, text=True, check=False)


def test_standard_output_holds_what_python_prints_in_ascii_where_the_terminal_has_nothing_else():
    done = run(PROGRAM.replace('"result"', '"result \u65e5"'), PYTHONIOENCODING="ascii", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stdout) == (0, "before\nresult \\u65e5\nafter\nown\n")
    assert done.stderr == "[Gloo] Rank 0\n"


def test_an_exit_in_the_middle_loses_no_result():
    done = run(PROGRAM.replace('print("after")', "").replace('print("result")', 'print("result"); os._exit(3)'))
    assert (done.returncode, done.stdout) == (3, "before\nresult\n")
