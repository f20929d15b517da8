"""What C libraries write to standard output does not mix with what the program prints there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[3] / "experiments"

PROGRAM = """
import os
from cli.noise import stdout_for_results_only
print("before")
with stdout_for_results_only():
    os.write(1, b"[Gloo] Rank 0\\n")  # as a library does, past Python
    print("result \u65e5")
    {end}
print("after")
os.write(1, b"own\\n")
"""


@pytest.mark.parametrize(
    ("end", "code", "printed"),
    [("", 0, "before\nresult \\u65e5\nafter\nown\n"), ("os._exit(3)", 3, "before\nresult \\u65e5\n")],
)
def test_standard_output_holds_what_python_prints_in_ascii_where_the_terminal_has_nothing_else(end, code, printed):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", PROGRAM.format(end=end)]
    done = subprocess.run(command, cwd=EXPERIMENTS, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, printed, "[Gloo] Rank 0\n")
