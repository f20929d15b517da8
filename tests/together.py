"""Starts the processes of one run, each in a folder of its own, and says how they ended."""

import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from launching.local import find_free_port

MAIN = Path(__file__).parents[1] / "experiments" / "main.py"
ENOUGH_SECONDS = 240.0  # for anything that must happen; only reached where something hangs


@dataclasses.dataclass
class Process:
    """A process of a run: how it was started and how it ended."""

    popen: subprocess.Popen
    log: Path

    def wait(self) -> int:
        return self.popen.wait(ENOUGH_SECONDS)

    @property
    def lines(self) -> list[str]:
        """Its output, without what libraries print."""
        return [line for line in self.log.read_text().splitlines() if not line.startswith("[Gloo]")]

    @property
    def error(self) -> str:
        """Its last line."""
        return self.lines[-1] if self.lines else ""


def start(
    count: int, folder: Path, arguments: Sequence[str], own: Sequence[Sequence[str]] = (), program: Path = MAIN
) -> list[Process]:
    """Starts the processes of one run.

    Args:
      count: of the processes.
      folder: each process gets a subfolder '0', '1', ... to work in.
      arguments: flags for all.
      own: further flags for each.
      program: what to start.
    """
    place = [f"--num_processes={count}", f"--coordinator_address=127.0.0.1:{find_free_port()}"] if count > 1 else []
    processes = []
    for index in range(count):
        home = folder / str(index)
        home.mkdir(parents=True, exist_ok=True)
        flags = [*arguments, *place, *([f"--process_id={index}"] if count > 1 else []), *(own[index] if own else [])]
        log = home / "log"
        with log.open("w") as stream:
            popen = subprocess.Popen(
                [sys.executable, str(program), *flags],
                cwd=home,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(MAIN.parents[1])},
            )
        processes.append(Process(popen, log))
    return processes


def wait(processes: Sequence[Process]) -> list[int]:
    """The exit codes; ends what hangs."""
    try:
        return [process.wait() for process in processes]
    finally:
        for process in processes:
            process.popen.kill()


def wait_until(condition: Callable[[], bool], processes: Sequence[Process] = ()) -> None:
    """Waits for something to happen; fails if it never does, or a process ends before."""
    until = time.monotonic() + ENOUGH_SECONDS
    while not condition():
        assert time.monotonic() < until, "it never happened"
        for process in processes:
            assert process.popen.poll() is None, process.log.read_text()
        time.sleep(0.01)
