"""Runs commands as subprocesses, several at once, and stops them so that each can save its work."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from aux_rnn.system.signals import SIGNALS, handlers

POLL_SECONDS = 0.1
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
# A scheduler may signal the process group and its leader, and a terminal repeats a key: all of that is one request.
PATIENCE_SECONDS = 2.0


class Job(NamedTuple):
    """A command, and the file to which its output is appended."""

    command: tuple[str, ...]
    log: Path

    def start(self, cores: Sequence[int]) -> subprocess.Popen:
        """Starts the process, on some cores only where the operating system supports that."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            # In its own session, so that Ctrl-C in the terminal reaches this process only, which passes it on once.
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=stop_with_parent if sys.platform == "linux" else None,
            )
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, cores)  # before it has started threads
        return process

    def last_line(self) -> str:
        """Returns the last line of output that is not blank."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def stop_with_parent() -> None:
    """Makes Linux send SIGTERM to the calling process when its parent dies, even of SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def run_jobs(jobs: Sequence[Job], slots: Sequence[Sequence[int]]) -> Iterator[tuple[Job, int | None]]:
    """Runs jobs in order, one per slot at a time.

    The first SIGINT or SIGTERM is passed on to all running jobs as SIGTERM, and no further jobs are started. The next
    one, if it comes at least `PATIENCE_SECONDS` later, is passed on as well. No job outlives the iteration.

    Args:
      jobs: what to run.
      slots: the cores of each slot.

    Yields:
      (job, None) when a job starts, and (job, exit code) when it ends; negative codes are signals. After a request to
      stop, jobs that have not started are left out.
    """
    queue, free = list(jobs), list(slots)
    running: dict[Job, tuple[subprocess.Popen, Sequence[int]]] = {}
    requests: list[float] = []  # their times

    def note(*signal_and_frame: object) -> None:
        if not requests or time.monotonic() - requests[-1] > PATIENCE_SECONDS:
            requests.append(time.monotonic())

    def terminate() -> None:
        for process, _ in running.values():
            process.send_signal(signal.SIGTERM)  # does nothing once the process has ended

    passed_on = 0
    with handlers(note, SIGNALS):
        try:
            while running or (queue and not requests):
                while queue and free and not requests:
                    job, cores = queue.pop(0), free.pop(0)
                    running[job] = job.start(cores), cores
                    yield job, None
                if len(requests) > passed_on:
                    passed_on = len(requests)
                    terminate()
                for job in [job for job, (process, _) in running.items() if process.poll() is not None]:
                    process, cores = running.pop(job)
                    free.append(cores)
                    yield job, process.returncode
                time.sleep(POLL_SECONDS)
        finally:
            if not passed_on:
                terminate()
            for process, _ in running.values():
                process.wait()
