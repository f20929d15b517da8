"""Runs cells as processes of their own, some of them at once, and stops them so that nothing is lost."""

import contextlib
import dataclasses
import enum
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import code_version

from aux_rnn.machine import describe_machine
from aux_rnn.workdir import write_atomically
from reproduction.records import is_complete
from reproduction.schedule import Task
from reproduction.stopping import StopRequests, catch_stop_requests

MAIN = Path(__file__).parents[1] / "main.py"
LOG, ORIGIN = "output.log", "origin.json"
POLL_SECONDS = 0.1
INTERRUPTED, REFUSED = 75, 2


class Outcome(enum.Enum):
    """How a run ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    ELSEWHERE = "running elsewhere"
    FAILED = "failed"


@dataclasses.dataclass
class Process:
    """A run in progress, on how many cores, whether it was complete before, and how often it was asked to stop."""

    task: Task
    popen: subprocess.Popen
    cores: int
    was_complete: bool
    asked: int = 0


def command_of(task: Task, locations: Sequence[str], program: str = "experiments/main.py") -> list[str]:
    """The command line of a run, to be repeated by hand if need be; time and memory go to what is measured."""
    return ["python", program, *task.cell.flags(), *locations, "--nopictures", f"--workdir={task.workdir}"]


def launch(task: Task, locations: Sequence[str], cores: Sequence[int]) -> Process:
    """Starts a run on its own cores, where the operating system can hold it there."""
    task.workdir.mkdir(parents=True, exist_ok=True)
    was_complete = is_complete(task.workdir)  # another command may have come first
    command = [sys.executable, *command_of(task, locations, str(MAIN))[1:]]
    with (task.workdir / LOG).open("a") as log:
        # A session of its own: Ctrl-C in the terminal reaches this process only, which then asks each run to stop once.
        popen = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**compilation_cache(task.workdir.parent), **os.environ},
        )
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(popen.pid, cores)  # before it has started any thread
    return Process(task, popen, len(cores), was_complete)


def compilation_cache(runs: Path) -> dict[str, str]:
    """The environment in which runs that differ in their seed alone compile once."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str((runs / "compiled").resolve()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }


def write_origin(process: Process) -> None:
    """Notes where and by which commit this command carried a run on, beside those of earlier commands."""
    origins = read_origins(process.task.workdir)
    origin = {"machine": describe_machine(process.cores), "commit": code_version()}
    if origin not in origins:
        write_atomically(process.task.workdir / ORIGIN, json.dumps([*origins, origin]) + "\n")


def read_origins(workdir: Path) -> list[dict[str, Any]]:
    try:
        return [
            {"machine": dict(o["machine"]), "commit": str(o["commit"])}
            for o in json.loads((workdir / ORIGIN).read_text())
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read_origin(workdir: Path) -> dict[str, Any]:
    """The machine that a run ended on and all its commits; of one that was started by hand neither is known."""
    origins = read_origins(workdir)
    commits = ", ".join(dict.fromkeys(origin["commit"] for origin in origins))
    return {"machine": origins[-1]["machine"] if origins else {}, "commit": commits or "unknown"}


def divide_cores(cores: Sequence[int], jobs: int) -> list[list[int]]:
    """The cores of each slot; one job has all of them, more jobs than cores share."""
    if jobs >= len(cores):
        return [[cores[slot % len(cores)]] for slot in range(jobs)]
    return [list(cores[slot::jobs]) for slot in range(jobs)]


def last_line(workdir: Path) -> str:
    lines = (workdir / LOG).read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def judge(process: Process, is_stopping: bool) -> Outcome:
    code = process.popen.returncode
    if code == 0:
        return Outcome.COMPLETE
    # A run that is asked to stop before it listens dies of the signal, with nothing to save.
    if code == INTERRUPTED or (is_stopping and code == -signal.SIGTERM):
        return Outcome.INTERRUPTED
    if code == REFUSED and "another run is using it" in last_line(process.task.workdir):
        return Outcome.ELSEWHERE
    return Outcome.FAILED


def run_tasks(
    tasks: Sequence[Task],
    locations: Sequence[str],
    slots: Sequence[Sequence[int]],
    finished: Callable[[Task, Outcome], None],
    started: Callable[[Task], None],
) -> bool:
    """Runs tasks in order, one in each slot at a time.

    The first SIGINT or SIGTERM is passed on to all runs, which save and leave; no more are started. A second one, some
    seconds later, is passed on as well, and they leave without saving.

    Args:
      tasks: what to run.
      locations: flags that say where data lies.
      slots: the cores of each slot.
      finished: called with every task that has ended.
      started: called with every task that begins.

    Returns:
      Whether it was stopped.
    """
    queue = list(tasks)
    running: dict[int, Process] = {}
    with catch_stop_requests() as stop, leaving_none(running):
        while running or (queue and not stop):
            for slot, cores in enumerate(slots):
                if slot not in running and queue and not stop:
                    task = queue.pop(0)
                    running[slot] = launch(task, locations, cores)
                    started(task)
            wait_for_one(running, stop)
            for slot in [slot for slot, process in running.items() if process.popen.poll() is not None]:
                process = running.pop(slot)
                outcome = judge(process, bool(stop))
                if outcome in (Outcome.COMPLETE, Outcome.INTERRUPTED) and not process.was_complete:
                    write_origin(process)
                finished(process.task, outcome)
        return bool(stop)


def wait_for_one(running: dict[int, Process], stop: StopRequests) -> None:
    """Waits until a run has ended, and passes requests to stop on to the runs meanwhile."""
    while all(process.popen.poll() is None for process in running.values()) and running:
        ask_to_stop(running, stop.count)
        time.sleep(POLL_SECONDS)


def ask_to_stop(running: dict[int, Process], times: int) -> None:
    """Signals each run as often as a stop was asked for: once it saves and leaves, a second time it leaves at once."""
    for process in running.values():
        if process.popen.poll() is None and process.asked < times:
            process.popen.send_signal(signal.SIGTERM)
            process.asked = times


@contextlib.contextmanager
def leaving_none(running: dict[int, Process]) -> Iterator[None]:
    """Whatever goes wrong here, no run stays behind unwatched."""
    try:
        yield
    finally:
        ask_to_stop(running, 1)
        for process in running.values():
            process.popen.wait()
