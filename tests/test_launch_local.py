"""Processes on this machine that train together: real ones, of a program in main.py's place that does as it is told."""

import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
GRACE = 0.4
PATIENCE = 20  # seconds that nothing here takes, even on a busy machine

# Carries out its own part of --script, a JSON list for each process.
STAND_IN = r"""
import json, os, signal, sys, time

flags = dict(argument.lstrip("-").split("=", 1) for argument in sys.argv[1:])
me = int(flags["process_id"])

def leave(number, frame):
    print("got", signal.Signals(number).name, file=sys.stderr, flush=True)
    sys.exit(75)

for word, *values in json.loads(flags["script"])[me]:
    if word == "say":
        print(*values, file=sys.stderr, flush=True)
    elif word == "bar":
        print(*values, file=sys.stderr, flush=True, end="")
    elif word == "out":
        print(*values, flush=True)
    elif word == "flags":
        print(json.dumps(sys.argv[1:]), flush=True)
    elif word == "terminal":
        print("terminal", os.isatty(2), os.get_terminal_size(2).columns if os.isatty(2) else 0, file=sys.stderr)
    elif word == "obey":
        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, leave)
    elif word == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    elif word == "protest":
        signal.signal(signal.SIGTERM, lambda *_: print("not me", file=sys.stderr, flush=True))
    elif word == "pid":
        print("pid", os.getpid(), file=sys.stderr, flush=True)
    elif word == "sleep":
        time.sleep(values[0])
    elif word == "kill":
        os.kill(os.getpid(), getattr(signal, values[0]))
    elif word == "exit":
        sys.exit(values[0])
"""
DRIVER = """
import sys
from launching import local
sys.exit(local.main(sys.argv[3:], [sys.executable, sys.argv[1]], float(sys.argv[2])))
"""
FOREVER = ["sleep", 90]


class Launcher:
    """`./launch.sh local` without its shell, on a script."""

    def __init__(self, folder, scripts, stderr=subprocess.PIPE, flags=()):
        program = folder / "stand_in.py"
        program.write_text(STAND_IN)
        script = f"--script={json.dumps(scripts)}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(program), str(GRACE), str(len(scripts)), script, *flags],
            env={**os.environ, "PYTHONPATH": str(EXPERIMENTS)},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        self.lines = []

    def wait_for(self, *beginnings):
        """Reads standard error until there is a line with each of these beginnings; returns these lines."""

        def find(beginning):
            return next((line for line in self.lines if line.startswith(beginning)), None)

        while not all(map(find, beginnings)):
            line = self.process.stderr.readline()
            assert line, f"{beginnings}: did not come; {self.lines}"
            self.lines.append(line.rstrip("\n"))
        return [find(beginning) for beginning in beginnings]

    def wait_for_pids(self, count):
        """The processes' ids, which each of them must say."""
        said = self.wait_for("pid", *(f"[{index}] pid" for index in range(1, count)))
        return [int(line.rpartition(" ")[2]) for line in said]

    def finish(self):
        """Waits; returns the exit code, standard output and all lines of standard error."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, self.lines + err.splitlines()


@pytest.fixture
def launch(tmp_path):
    launched = []

    def start(*scripts, **settings):
        launched.append(Launcher(tmp_path, scripts, **settings))
        return launched[-1]

    yield start
    for launcher in launched:
        launcher.process.kill()
        launcher.process.communicate()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


def test_all_complete_and_each_has_its_flags(launch):
    code, out, err = launch(
        [["flags"], ["say", "step 1"]], [["say", "a warning"], ["out", "loud"]], flags=["--comment=a b,'c' $d"]
    ).finish()
    assert code == 0
    default, _, given, shared, address, number = json.loads(out)
    assert (given, shared, number) == ("--comment=a b,'c' $d", "--num_processes=2", "--process_id=0")
    assert default == "--flagfile=digits.flags"
    host, port = address.removeprefix("--coordinator_address=").split(":")
    assert host == "127.0.0.1"
    assert 1024 <= int(port) < 65536
    assert sorted(err) == ["[1] a warning", "[1] loud", "step 1"]


def test_one_process_is_enough(launch):
    code, _, err = launch([["say", "alone"]]).finish()
    assert (code, err) == (0, ["alone"])


def test_an_error_ends_all_and_is_the_last_that_is_seen(launch):
    bad = [["say", "some noise"], ["say", "error: --x=1: must be 2"], ["exit", 2]]
    code, _, err = launch([["obey"], ["say", "step 1"], FOREVER], [["sleep", 0.3], *bad], [["obey"], FOREVER]).finish()
    assert code == 2
    assert {"got SIGTERM", "[2] got SIGTERM"} <= set(err)
    assert err[-2:] == [
        "[1] error: --x=1: must be 2",
        "error: process 1 of 3 ended with exit code 2; the others were stopped",
    ]


def test_an_error_that_stands_last_already_is_not_said_twice(launch):
    code, _, err = launch([["say", "error: once"], ["exit", 1]]).finish()
    assert code == 1
    assert err == ["error: once", "error: process 0 of 1 ended with exit code 1; the same command continues the run"]


def test_the_first_to_fail_is_named_though_others_complain_of_it_later(launch):
    peer = [["obey"], FOREVER]
    code, _, err = launch([["sleep", 0.2], ["say", "error: disk full"], ["exit", 1]], peer).finish()
    assert code == 1
    assert err[-3:] == [
        "[1] got SIGTERM",
        "error: disk full",
        "error: process 0 of 2 ended with exit code 1; the others were stopped; the same command continues the run",
    ]


def test_a_process_that_is_killed_takes_the_others_along_even_if_they_ignore_it_or_are_stopped(launch):
    ignoring = [["protest"], ["pid"], FOREVER]
    launcher = launch(
        ignoring,
        [["say", "Fatal error"], ["out", "done so far"], ["pid"], FOREVER],
        [["pid"], ["kill", "SIGSTOP"], FOREVER],
    )
    pids = launcher.wait_for_pids(3)
    began = time.monotonic()
    os.kill(pids[1], signal.SIGKILL)
    code, _, err = launcher.finish()
    assert code == 128 + signal.SIGKILL
    assert time.monotonic() - began >= GRACE, "no time was left to the others"
    assert err[-1] == (
        "error: process 1 of 3 was killed (SIGKILL); the others were stopped; the same command continues the run"
    )
    assert err[-3].startswith("[1] Fatal error"), "only what it said on standard error is repeated"
    assert err[-2].startswith("[1] pid")
    assert not any(map(is_alive, pids))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_passed_on_once_and_all_are_waited_for(launch, number):
    launcher = launch([["obey"], ["say", "ready"], FOREVER], [["obey"], ["say", "ready"], FOREVER])
    launcher.wait_for("ready", "[1] ready")
    launcher.process.send_signal(number)
    code, _, err = launcher.finish()
    assert code == 75
    assert sorted(err[-2:]) == [f"[1] got {number.name}", f"got {number.name}"]


def test_ctrl_c_reaches_the_processes_through_the_launcher_alone(launch):
    launcher = launch([["obey"], ["say", "ready"], FOREVER])
    launcher.wait_for("ready")
    os.killpg(launcher.process.pid, signal.SIGINT)  # as a terminal does, to all of the foreground
    code, _, err = launcher.finish()
    assert (code, err) == (75, ["ready", "got SIGINT"])


def test_a_stop_before_a_process_listens_is_an_interruption(launch):
    launcher = launch([["say", "starting"], FOREVER])
    launcher.wait_for("starting")
    launcher.process.terminate()
    code, _, err = launcher.finish()
    assert (code, err) == (75, ["starting"])


def test_a_second_stop_kills_all_at_once(launch):
    launcher = launch([["ignore"], ["pid"], FOREVER], [["ignore"], ["pid"], FOREVER])
    pids = launcher.wait_for_pids(2)
    launcher.process.terminate()
    time.sleep(2 * GRACE)
    assert launcher.process.poll() is None
    assert all(map(is_alive, pids)), "a first stop has no deadline"
    launcher.process.terminate()
    code, _, err = launcher.finish()
    assert code == 128 + signal.SIGKILL
    assert err[-1] == (
        "error: all processes were killed at the second request to stop; the same command continues the run"
    )
    assert not any(map(is_alive, pids))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's death")
def test_no_process_outlives_a_launcher_that_is_killed(launch):
    launcher = launch([["ignore"], ["pid"], FOREVER], [["ignore"], ["pid"], FOREVER])
    pids = launcher.wait_for_pids(2)
    launcher.process.kill()
    wait_until(lambda: not any(map(is_alive, pids)))


def test_one_that_is_interrupted_makes_the_whole_interrupted(launch):
    code, _, _ = launch([["exit", 0]], [["exit", 75]]).finish()
    assert code == 75


def test_on_a_terminal_process_0_sees_a_terminal_of_its_size_and_its_error_is_kept(launch):
    ours, theirs = pty.openpty()
    ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 91, 0, 0))
    wrong = [
        ["terminal"],
        ["bar", "\r10 %|#   |"],
        ["sleep", 0.3],
        ["bar", "\r      \r"],
        ["say", "error: no"],
        ["exit", 1],
    ]
    launcher = launch(wrong, [["obey"], ["say", "hello"], FOREVER], stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 4096):
            seen += chunk
    except OSError:
        pass
    os.close(ours)
    assert launcher.process.wait(PATIENCE) == 1
    lines = seen.decode().split("\r\n")
    assert "terminal True 91" in seen.decode()
    assert "\r10 %|#   |" in seen.decode()
    assert "\r\x1b[K[1] hello" in seen.decode(), "the line does not clear the bar first"
    assert lines[-3].endswith("error: no")
    assert lines[-2].endswith("the same command continues the run")


@pytest.mark.parametrize("arguments", [[], ["0"], ["-1"], ["two"], ["2.0"], ["--flagfile=digits.flags"]])
def test_a_bad_number_gets_one_line(arguments):
    command = [sys.executable, str(EXPERIMENTS / "launch.py"), "local", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"error: {arguments[0] if arguments else ''!r}: must be the number of processes, 1 or more"
    )
    assert done.stderr.count("\n") == 1


def test_the_command_starts_main_in_the_environment(tmp_path):
    python = tmp_path / "bin/python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\n[ "$2" = pip ] || exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = ["bash", str(EXPERIMENTS.parent / "launch.sh"), "local", "2", "--nonsense"]
    done = subprocess.run(
        command, env={**os.environ, "VENV": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if "installing" not in line]
    assert (done.returncode, done.stdout) == (2, "")
    assert any("error: Unknown command line flag 'nonsense'" in line for line in lines)
    assert re.fullmatch(r"error: process [01] of 2 ended with exit code 2; the others were stopped", lines[-1])
