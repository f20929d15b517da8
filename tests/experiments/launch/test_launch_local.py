"""Tests ./launch.sh local with shell commands in place of main.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TIMEOUT = 60

# Runs the shell command that a flag gives its process.
PROGRAM = """
import os, sys
flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
os.execvp("sh", ["sh", "-c", flags["do" + flags["process_id"]], "sh", flags["num_processes"]])
"""
WAIT = "for i in $(seq 2400); do sleep 0.05; done"  # two minutes, longer than a test waits
START = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import local
from cli import subprocesses
local.GRACE_SECONDS = subprocesses.PATIENCE_SECONDS = 0.4
sys.exit(local.main(sys.argv[3:], Path(sys.argv[2])))
"""


@pytest.fixture
def launch(tmp_path):
    """Starts the launcher; process k runs `commands[k]`."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    started = []

    def start(*commands):
        flags = [f"--do{index}={command}" for index, command in enumerate(commands)]
        command = [sys.executable, "-c", START, ROOT / "experiments/launch", program, str(len(commands)), *flags]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(launcher):
    """Returns the exit code and the lines of standard error."""
    _, errors = launcher.communicate(timeout=TIMEOUT)
    return launcher.returncode, errors.splitlines()


def read_pids(launcher):
    """Returns the process ids that process 0 prints to standard output and process 1 to the launcher."""
    return int(launcher.stdout.readline().split()[-1]), int(launcher.stderr.readline().split()[-1])


def test_all_processes_run_and_lines_of_others_have_their_number(launch):
    code, lines = finish(launch("echo hello $1 >&2", "echo hello $1"))
    assert code == 0
    assert sorted(lines) == ["[1] hello 2", "hello 2"]


@pytest.mark.parametrize(
    ("end", "code", "how"),
    [
        ("exit 1", 1, "ended with exit code 1"),
        ("kill -9 $$", 137, "was killed (SIGKILL)"),
        ("kill -ABRT $$", 134, "was aborted (SIGABRT), as JAX does when another one (0 or 2) does not respond"),
    ],
)
def test_the_first_process_to_fail_is_named_and_the_others_are_stopped(launch, end, code, how):
    found, lines = finish(launch(WAIT, f"sleep 0.2; {end}", f"trap '' TERM; {WAIT}"))
    assert found == code
    assert lines == [f"error: process 1 of 3 {how}; the same command continues the run"]


def test_bad_input_is_left_to_the_processes_to_report(launch):
    assert finish(launch("echo wrong $1 >&2; exit 2", WAIT)) == (2, ["wrong 2"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_once(launch, number):
    launcher = launch(*[f"trap 'exit 75' INT TERM; echo $$; {WAIT}"] * 2)
    read_pids(launcher)
    launcher.send_signal(number)
    assert finish(launcher) == (75, [])


def test_a_second_signal_kills_all_processes(launch):
    launcher = launch(*[f"trap '' TERM; echo $$; {WAIT}"] * 2)
    read_pids(launcher)
    launcher.terminate()
    time.sleep(0.8)  # sooner, it would be the same request
    assert launcher.poll() is None
    launcher.terminate()
    code, _ = finish(launcher)
    assert code == 75


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux signals the death of a parent process")
def test_no_process_outlives_a_launcher_that_is_killed(launch):
    launcher = launch(*[f"echo $$; {WAIT}"] * 2)
    pids = read_pids(launcher)
    launcher.kill()
    end = time.monotonic() + TIMEOUT
    while any(Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text() for pid in pids):
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "error: '': must be the number of processes"),
        (["0"], "error: '0': must be the number of processes"),
        (["two"], "error: 'two': must be the number of processes"),
        (["2", "--nonsense"], "error: Unknown command line flag 'nonsense'"),  # of main.py
    ],
)
def test_a_mistake_gets_one_line(arguments, line, tmp_path):
    """A script takes the place of the Python of launch.sh and starts this one."""
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\n[ "$2" = pip ] || exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = {**os.environ, "VENV": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = ["bash", str(ROOT / "launch.sh"), "local", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("installing")]
    assert (done.returncode, done.stdout) == (2, "")
    assert len(lines) == 1 or arguments == ["2", "--nonsense"]
    assert lines[0].removeprefix("[1] ").startswith(line)
