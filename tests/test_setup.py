"""Set-up: what is declared, and what launch.sh says of a mistake."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_requirements_and_project_declare_the_same():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    declared = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
    assert sorted(line for line in lines if line) == sorted(["-e .", *declared])
    (jax,) = [line for line in PROJECT["dependencies"] if line.startswith("jax")]
    for name in ("cuda", "tpu", "compile-tpu", "compile-gpu"):
        assert PROJECT["optional-dependencies"][name][0].partition("]")[2] == jax.removeprefix("jax")


COMMANDS = "train, local, tpu, reproduce, benchmark, check-accelerator, install or test"


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({}, [], f"error: '': must be {COMMANDS}"),
        ({}, ["fly"], f"error: 'fly': must be {COMMANDS}"),
        ({}, ["slurm"], "error: slurm: submit the job script: sbatch [options] experiments/launch/slurm.sh [flags]"),
        ({}, ["tpu", "NAME"], "error: NAME: must be lower-case"),
        ({}, ["tpu", "run", "--workdir=runs/x"], "error: --workdir=runs/x: must be gs://BUCKET/PATH"),
        ({}, ["tpu", "run", "--workdir=gs://b/x"], "error: --accelerator=: must be the type of a TPU"),
        ({}, ["tpu", "run", "--workdir=gs://b/x", "--accelerator=v6e-8"], "error: sky is not installed; EXTRAS=sky"),
        ({"PYTHON": "python2.1"}, ["test"], "error: python2.1: not a Python of version 3.11 or newer"),
    ],
)
def test_a_mistake_at_the_launch_gets_one_line(environment, arguments, message):
    command = ["bash", str(ROOT / "launch.sh"), *arguments]
    path = {"PATH": "/usr/bin:/bin", **environment}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(message)


def test_launch_help_names_the_commands():
    done = subprocess.run(["bash", str(ROOT / "launch.sh"), "help"], capture_output=True, text=True, check=True)
    assert [name for name in COMMANDS.replace(" or", ",").split(", ") if f"./launch.sh {name}" not in done.stdout] == []


@pytest.fixture
def environment(tmp_path):
    """Of a shell whose Python only writes down what it is asked for."""
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nfor word; do printf "%s\\n" "$word"; done >> "$VENV/asked"\n')
    python.chmod(0o755)
    return {"PATH": "/usr/bin:/bin", "VENV": str(tmp_path)}


@pytest.mark.parametrize(
    ("flags", "is_on_digits"),
    [
        ([], True),
        (["--seed=1", "--workdir=a folder"], True),
        (["--seed=1", "--flagfile=cifar.flags"], False),
        (["--flagfile", "cifar.flags"], False),
        (["--dataset=mnist"], False),
        (["--mode=eval", "--workdir=x"], False),
    ],
)
def test_training_is_on_digits_where_the_flags_name_no_data(flags, is_on_digits, environment, tmp_path):
    command = ["bash", str(ROOT / "launch.sh"), "train", *flags]
    subprocess.run(command, env=environment, capture_output=True, check=True)
    asked = (tmp_path / "asked").read_text().splitlines()
    expected = ["--flagfile=digits.flags", *flags] if is_on_digits else flags
    assert asked[asked.index(str(ROOT / "experiments/main.py")) + 1 :] == expected


@pytest.mark.parametrize(
    ("extras", "installed"),
    [("", ["-r", "requirements.txt"]), ("gcs,tpu", ["-r", "requirements.txt", "-e", ".[gcs,tpu]"])],
)
def test_requirements_are_installed_once_with_the_extras_that_are_named(extras, installed, environment, tmp_path):
    for attempt in (1, 2):
        (tmp_path / "asked").write_text("")
        command = ["bash", str(ROOT / "launch.sh"), "test", "--version"]
        subprocess.run(command, env={**environment, "EXTRAS": extras}, capture_output=True, check=True)
        asked = (tmp_path / "asked").read_text().split()
        if attempt == 1:
            assert [word for word in asked if word in installed] == installed
        assert ("install" in asked) == (attempt == 1)
