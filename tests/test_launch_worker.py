"""The orders to a worker of a TPU slice: real processes in a folder of its own, with a stand-in for its launch.sh."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from launching import workers

ON_WORKER = Path(__file__).parent.parent / "experiments/launching/on_worker.sh"
PATIENCE = 30  # seconds that nothing here takes, even on a busy machine
# Writes down its arguments; trains until it is stopped.
LAUNCH = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
with open(os.environ["HOME"] + "/given.jsonl", "a") as file:
    print(json.dumps(sys.argv[1:]), file=file)
if sys.argv[1] == "train":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    print("step 1", flush=True)
    time.sleep(90)
"""


class Worker:
    """A worker's home folder, with the packed code in it."""

    def __init__(self, home):
        self.home = home
        (home / "launch.sh").write_text(LAUNCH)
        (home / "launch.sh").chmod(0o755)
        with tarfile.open(home / workers.ARCHIVE, "w:gz") as archive:
            archive.add(home / "launch.sh", "launch.sh")
            archive.add(ON_WORKER, workers.ON_WORKER.removeprefix("aux_rnn/"))

    def order(self, command, **environment):
        """The order under way, as ssh gives it."""
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.home,
            env={**os.environ, "HOME": str(self.home), **environment},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def obey(self, command, **environment):
        """The exit code and what was said, of an order to its end."""
        process = self.order(command, **environment)
        return process.communicate(timeout=PATIENCE)[0], process.returncode

    @property
    def given(self):
        return [json.loads(line) for line in (self.home / "given.jsonl").read_text().splitlines()]


@pytest.fixture
def worker(tmp_path):
    worker = Worker(tmp_path)
    assert worker.obey(workers.install_order()) == ("\naux_rnn: exit code 0\n", 0)
    yield worker
    worker.obey(workers.stop_order())


TRAIN = workers.train_order(["--seed=1"])


def wait_for_step(process):
    while (line := process.stdout.readline()) != "step 1\n":
        assert line, "it did not start"


def test_a_run_is_stopped_and_says_its_exit_code(worker):
    with worker.order(TRAIN) as run:
        wait_for_step(run)
        assert worker.obey(workers.stop_order()) == ("\naux_rnn: exit code 0\n", 0)
        assert run.communicate(timeout=PATIENCE)[0] == "\naux_rnn: exit code 75\n"
    assert run.returncode == 75


def test_a_run_outlives_its_connection_and_is_shown_again_when_the_order_is_repeated(worker):
    """gcloud gives an order again; the run must be neither started twice nor stopped."""
    with worker.order(TRAIN) as lost:
        wait_for_step(lost)
        os.killpg(lost.pid, signal.SIGKILL)
    with worker.order(TRAIN) as again:
        wait_for_step(again)
        worker.obey(workers.stop_order())
        assert again.communicate(timeout=PATIENCE)[0] == "\naux_rnn: exit code 75\n"
    assert worker.given == [["test", "--version"], ["train", "--seed=1"]]


def test_a_run_that_is_killed_is_no_success(worker):
    with worker.order(TRAIN) as run:
        wait_for_step(run)
        os.kill(int((worker.home / "aux_rnn-run/main").read_text()), signal.SIGKILL)
        assert run.communicate(timeout=PATIENCE)[0].endswith("\naux_rnn: exit code 137\n")
    assert run.returncode == 137


def test_new_code_comes_only_when_the_run_of_an_earlier_command_has_saved(worker):
    with worker.order(TRAIN) as run:
        wait_for_step(run)
        assert worker.obey(workers.install_order()) == ("\naux_rnn: exit code 0\n", 0)
        assert run.communicate(timeout=PATIENCE)[0] == "\naux_rnn: exit code 75\n"


def test_without_a_run_there_is_nothing_to_stop(worker):
    assert worker.obey(workers.stop_order()) == ("\naux_rnn: exit code 0\n", 0)


def test_a_worker_whose_python_is_too_old_gets_a_newer_one(worker, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sudo").write_text('#!/bin/bash\necho "$*" >> "$HOME/sudo"\n')
    (tools / "sudo").chmod(0o755)
    for name in ("bash", "dirname", "rm", "mkdir", "tar", "gzip", "grep"):
        (tools / name).symlink_to(next(p for folder in ("/bin", "/usr/bin") if (p := Path(folder, name)).exists()))
    _, code = worker.obey(workers.install_order(), PATH=str(tools))
    asked = (tmp_path / "sudo").read_text().splitlines()
    assert code == 0
    assert [line.split()[-1] for line in asked] == ["update", "python3.11-venv"]
    assert all(line.startswith("apt-get ") for line in asked)
