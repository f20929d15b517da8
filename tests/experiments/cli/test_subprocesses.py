"""Subprocesses: their slots and exit codes, and how they are stopped."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.subprocesses import Job, run_jobs

ROOT = Path(__file__).parents[3]


SLEEP = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def make_job(folder, name, code):
    return Job((sys.executable, "-c", code), folder / name / "log")


def wait_for_pid(log):
    """Waits until the job has written its process ID, and returns it."""
    while not (log.exists() and log.read_text().endswith("\n")):
        time.sleep(0.02)
    return int(log.read_text())


def test_jobs_run_in_their_slots_and_their_codes_are_returned(tmp_path):
    has_affinity = hasattr(os, "sched_getaffinity")
    code = f"import os, sys; print(sorted(os.sched_getaffinity(0)) if {has_affinity} else 0); sys.exit(3)"
    core = next(iter(os.sched_getaffinity(0))) if has_affinity else 0
    jobs = [make_job(tmp_path, name, code) for name in "abc"]
    ends = {job: end for job, end in run_jobs(jobs, [[core], [core]]) if end is not None}
    assert ends == dict.fromkeys(jobs, 3)
    assert {job.last_line() for job in jobs} <= {f"[{core}]", "0"}


def test_a_second_request_kills_and_no_job_survives(tmp_path, monkeypatch):
    monkeypatch.setattr("cli.subprocesses.PATIENCE_SECONDS", 0.3)
    stubborn = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    iteration = run_jobs([make_job(tmp_path, name, stubborn) for name in "ab"], [[0]])
    job, _ = next(iteration)
    pid = wait_for_pid(job.log)
    requests = subprocess.Popen(
        ["sh", "-c", f"kill -TERM {os.getpid()}; kill -INT {os.getpid()}; sleep 1; kill -TERM {os.getpid()}"]
    )
    assert list(iteration) == [(job, 75)], "the second job is not started"
    requests.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_no_job_survives_an_error_of_its_caller(tmp_path):
    job = make_job(tmp_path, "a", SLEEP)

    def fail():
        for _ in run_jobs([job], [[0]]):
            wait_for_pid(job.log)
            raise ValueError("of the caller")

    with pytest.raises(ValueError, match="of the caller"):
        fail()
    with pytest.raises(ProcessLookupError):
        os.kill(wait_for_pid(job.log), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_no_job_survives_a_killed_command(tmp_path):
    job = make_job(tmp_path, "a", SLEEP)
    driver = "from pathlib import Path, PosixPath; from cli.subprocesses import Job, run_jobs; "
    driver += f"list(run_jobs([{job!r}], [[0]]))"
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'experiments'}{os.pathsep}{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", driver], env=environment)
    status = Path(f"/proc/{wait_for_pid(job.log)}/stat")
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while status.exists() and status.read_text().rsplit(")")[1].split()[0] != "Z":
        assert time.monotonic() < deadline, "the job is still running"
        time.sleep(0.02)
