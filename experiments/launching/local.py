"""Several processes of main.py on this machine, which train together: `./launch.sh local N [flags]`.

Process 0 has the terminal; what the others say is shown line by line behind their number. Ctrl-C (or SIGTERM) is passed
on once, so that all save and leave with exit code 75; a second one kills them. When one fails, all end.
"""

import re
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from exits import BAD_INPUT, report

from launching.grammar import complete
from launching.screen import Screen
from launching.supervision import Outcome, supervise

PROGRAM = (sys.executable, str(Path(__file__).parents[1] / "main.py"))
GRACE_SECONDS = 5.0


def find_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def make_commands(count: int, flags: Sequence[str], program: Sequence[str], port: int) -> list[list[str]]:
    """One command a process."""
    shared = [f"--num_processes={count}", f"--coordinator_address=127.0.0.1:{port}"]
    return [[*program, *flags, *shared, f"--process_id={index}"] for index in range(count)]


def describe_failure(outcome: Outcome) -> str:
    """One line that says which process failed and how, and what then."""
    assert outcome.failed is not None
    code, count = outcome.failed.process.returncode, len(outcome.children)
    how = f"ended with exit code {code}" if code > 0 else f"was killed ({signal.Signals(-code).name})"
    line = f"process {outcome.failed.index} of {count} {how}"
    if len(outcome.stops) > 1:
        line = "all processes were killed at the second request to stop"
    elif count > 1:
        line += "; the others were stopped"
    return line if code == BAD_INPUT else f"{line}; the same command continues the run"


def main(arguments: Sequence[str], program: Sequence[str] = PROGRAM, grace_seconds: float = GRACE_SECONDS) -> int:
    """Runs N processes to their end; returns the exit code."""
    number, *flags = arguments or ["", ""]
    if not re.fullmatch(r"[1-9]\d{0,3}", number):
        return report(f"{number!r}: must be the number of processes, 1 or more: ./launch.sh local N [flags]", BAD_INPUT)
    screen = Screen()
    commands = make_commands(int(number), complete(flags), program, find_free_port())
    outcome = supervise(commands, grace_seconds, screen)
    if outcome.failed is not None:
        if screen.last_writer != outcome.failed.index:  # its own words shall be the last
            prefix = f"[{outcome.failed.index}] " if outcome.failed.index else ""
            for line in outcome.failed.tail.last_words():
                screen.write_line(f"{prefix}{line}".encode())
        screen.write_line(f"error: {describe_failure(outcome)}".encode())
    return outcome.exit_code()
