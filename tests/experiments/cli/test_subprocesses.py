"""Jobs: their slots and exit codes, and how they are stopped; ../launch/test_launch_local.py stops single processes."""

import os
import signal
import sys
import time

import pytest
from cli.subprocesses import Job, run_jobs

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


def test_a_request_to_stop_ends_the_job_that_runs_and_starts_no_other(tmp_path):
    iteration = run_jobs([make_job(tmp_path, name, SLEEP) for name in "ab"], [[0]])
    job, _ = next(iteration)
    wait_for_pid(job.log)
    signal.raise_signal(signal.SIGTERM)
    assert list(iteration) == [(job, 75)]


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
