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


def test_standard_output_holds_what_python_prints():
    done = subprocess.run(
        [sys.executable, "-u", "-c", PROGRAM], cwd=EXPERIMENTS, capture_output=True, text=True, check=True
    )
    assert done.stdout == "before\nresult\nafter\nown\n"
    assert done.stderr == "[Gloo] Rank 0\n"


def test_an_exit_in_the_middle_loses_no_result():
    program = PROGRAM.replace('print("after")', "").replace('print("result")', 'print("result"); os._exit(3)')
    done = subprocess.run([sys.executable, "-c", program], cwd=EXPERIMENTS, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout == "before\nresult\n"


def test_what_the_terminal_cannot_show_is_written_in_ascii():
    program = PROGRAM.replace('"result"', '"folder \u65e5"')
    variables = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=EXPERIMENTS, capture_output=True, text=True, check=True, env=variables
    )
    assert "folder \\u65e5\n" in done.stdout
