"""The programs on command lines that were never meant to work: one line, exit code 2, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from properties import assert_one_line

ROOT = Path(__file__).parent.parent
DIGITS = ["--dataset=digits", "--segment_length=10", "--batch_size=16"]
NARROW = [*DIGITS, "--supervised_truncation=0", "--auxiliary_truncation=0"]

MAIN = {
    "bytes that are not UTF-8": (
        ["--workdir=runs/\udcff\udcfe"],
        "--workdir=runs/\\udcff\\udcfe: must be text in UTF-8",
    ),
    "control characters": (["--data_dir=a\x1b[2Jb"], "--data_dir=a\\x1b[2Jb: must be text in UTF-8"),
    "two lines": (["--dataset=mnist\nerror: hello"], "--dataset=mnist\\nerror: hello: must be text"),
    "a hundred thousand letters": (["--dataset=" + "x" * 100_000], "--dataset=xxx"),
    "five thousand digits": (["--seed=" + "9" * 5_000], "--seed=999"),
    "a seed beyond 64 bits": ([f"--seed={2**64}"], f"--seed={2**64}: must be an integer from 0 to 2147483647"),
    "an argument of a switch": (["--noteacher_forcing=3"], "--noteacher_forcing=3: "),
    "a flag of absl's logging": (["--logger_levels=x:y"], "--logger_levels=x:y: Unknown level"),
    "another of them": (["--stderrthreshold=zz"], "--stderrthreshold=zz: "),
    "a million devices": (["--cpu_devices=1000000"], "--cpu_devices=1000000: must be at most 1024"),
    "not in float32": (["--learning_rate=1e300"], "--learning_rate=1e300: must be a number above 0, at most 1e+38"),
    "layers without end": (
        ["--head_sizes=" + "1," * 5_000 + "1"],
        "positive integers separated by commas, at most 100",
    ),
    "a flag file in itself": (["--flagfile=a.flags"], "--flagfile=a.flags: includes itself (a.flags -> a.flags)"),
    "a flag file of zeros": (["--flagfile=zeros.flags"], "zeros.flags: the line '\\x00"),
    "a folder for a flag file": (["--flagfile=."], "--flagfile=.: no such file in"),
    # These are refused after JAX has started, which takes some seconds.
    "a matrix beyond memory": ([*NARROW, "--hidden_size=1000000000"], "--hidden_size=1000000000: must be smaller"),
    "more steps than 32 bits": ([*DIGITS, "--train_epochs=2147483647"], "--train_epochs=2147483647: must be fewer"),
    "more data than fits": (
        ["--mode=prepare", "--dataset=recall", "--sequence_length=2147483647"],
        "--sequence_length=2147483647: must be smaller",
    ),
}
OTHERS = {
    "so many seeds": ("reproduce.py", ["table2", "--seeds=1000000000000000000"], "--seeds=1000000000000000000: "),
    "an argument of another switch": ("reproduce.py", ["table2", "--nodry_run=3"], "--nodry_run=3: "),
    "a folder that is no text": ("reproduce.py", ["table2", "--results=\udcff"], "--results=\\udcff: must be text"),
    "so large a product": ("benchmark.py", ["step", "--product_size=1000000"], "--product_size=1000000: "),
    "so many devices": ("benchmark.py", ["step", "--cpu_devices=1000000"], "--cpu_devices=1000000: "),
}


def run(folder, program, arguments):
    """Exit code, standard output and standard error of a program started in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": str(folder / "data")}
    command = [sys.executable, str(ROOT / "experiments" / program), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def assert_refused(folder, program, arguments, part):
    code, out, err = run(folder, program, arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert_one_line(err.removeprefix("error: ")[:-1], part)
    assert not (folder / "runs").exists()


@pytest.mark.parametrize("mistake", MAIN)
def test_main_refuses_in_one_line(mistake, tmp_path):
    (tmp_path / "a.flags").write_text("--flagfile=a.flags\n")
    (tmp_path / "zeros.flags").write_bytes(bytes(1_000))
    assert_refused(tmp_path, "main.py", *MAIN[mistake])


@pytest.mark.parametrize("mistake", OTHERS)
def test_the_other_programs_refuse_in_one_line(mistake, tmp_path):
    assert_refused(tmp_path, *OTHERS[mistake])
