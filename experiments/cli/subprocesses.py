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
from typing import Any, NamedTuple

from aux_rnn.system.signals import SIGNALS, handlers
from cli.exits import INTERRUPTED

POLL_SECONDS = 0.05
PR_SET_PDEATHSIG = 1  # of <linux/prctl.h>
# A scheduler may signal the process group and its leader, and a terminal repeats a key: all of that is one request.
PATIENCE_SECONDS = 1.0


class Subprocesses:
    """Subprocesses that are stopped together; see `managed_subprocesses`.

    Attributes:
      processes: all that were started, in this order.
      requests: the times of the requests to stop.
    """

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen] = []
        self.requests: list[float] = []
        self._passed_on = 0

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen:
        """Starts a command with further arguments of `subprocess.Popen`."""
        # In its own session, so that Ctrl-C in the terminal reaches this process only, which passes it on once.
        dies_with_parent = stop_with_parent if sys.platform == "linux" else None
        options |= dict(stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=dies_with_parent)
        self.processes.append(subprocess.Popen(command, **options))
        return self.processes[-1]

    def poll(self) -> list[int | None]:
        """Passes on the requests since the last call. Returns the exit codes, None for those that are running.

        A process that a signal ended after a request, because it was still starting, has the code `INTERRUPTED`.
        """
        if len(self.requests) > self._passed_on:
            self.send(signal.SIGTERM if self._passed_on == 0 else signal.SIGKILL)
            self._passed_on = len(self.requests)
        codes = [process.poll() for process in self.processes]
        return [INTERRUPTED if self.requests and code and code < 0 else code for code in codes]

    def send(self, number: int) -> None:
        for process in self.processes:
            process.send_signal(number)  # does nothing once the process has ended

    def note_request(self, *signal_and_frame: object) -> None:
        if not self.requests or time.monotonic() - self.requests[-1] > PATIENCE_SECONDS:
            self.requests.append(time.monotonic())


@contextlib.contextmanager
def managed_subprocesses() -> Iterator[Subprocesses]:
    """Yields a group of subprocesses, none of which outlives the block or this process.

    The first SIGINT, SIGTERM or SIGHUP is passed on to all of them as SIGTERM. The next one, if it comes at least
    `PATIENCE_SECONDS` later, kills them.
    """
    group = Subprocesses()
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as under nohup
    with handlers(group.note_request, SIGNALS if is_ignored else (*SIGNALS, signal.SIGHUP)):
        try:
            yield group
        finally:
            if not group.requests:
                group.send(signal.SIGTERM)
            while None in group.poll():
                time.sleep(POLL_SECONDS)


def stop_with_parent() -> None:
    """Makes Linux send SIGTERM to the calling process when its parent dies, even of SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Job(NamedTuple):
    """A command, and the file to which its output is appended."""

    command: tuple[str, ...]
    log: Path

    def start(self, group: Subprocesses, cores: Sequence[int]) -> subprocess.Popen:
        """Starts the process, on some cores only where the operating system supports that."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            process = group.start(self.command, stdout=log, stderr=subprocess.STDOUT)
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, cores)  # before it has started threads
        return process

    def last_line(self) -> str:
        """Returns the last line of output that is not blank."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def run_jobs(jobs: Sequence[Job], slots: Sequence[Sequence[int]]) -> Iterator[tuple[Job, int | None]]:
    """Runs jobs in order, one per slot of cores at a time; see `managed_subprocesses` for requests to stop.

    Yields (job, None) when a job starts, and (job, exit code) when it ends; negative codes are signals. After a request
    to stop, no further jobs are started.
    """
    queue, free = list(jobs), list(slots)
    running: dict[Job, tuple[subprocess.Popen, Sequence[int]]] = {}
    with managed_subprocesses() as group:
        while running or (queue and not group.requests):
            while queue and free and not group.requests:
                job, cores = queue.pop(0), free.pop(0)
                running[job] = job.start(group, cores), cores
                yield job, None
            codes = dict(zip(group.processes, group.poll(), strict=True))
            for job, (process, cores) in list(running.items()):
                if codes[process] is not None:
                    del running[job]
                    free.append(cores)
                    yield job, codes[process]
            time.sleep(POLL_SECONDS)
