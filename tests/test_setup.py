"""Set-up: what is declared, and what launch.sh says of a mistake."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_requirements_and_project_declare_the_same():
    lines = [line.split("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["test"]
    assert sorted(line for line in lines if line) == sorted(["-e .", *declared])


@pytest.mark.parametrize(
    ("environment", "arguments", "message"),
    [
        ({}, [], "error: '': must be train, reproduce, benchmark or test"),
        ({}, ["fly"], "error: 'fly': must be train, reproduce, benchmark or test"),
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
    for command in ("train", "reproduce", "benchmark", "test"):
        assert f"./launch.sh {command}" in done.stdout
