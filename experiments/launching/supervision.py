"""Processes that live and die together, as those of one training do.

Each has a session of its own, so that Ctrl-C in the terminal reaches this process only, which passes it on. When one
fails, the others are asked to end and, soon after, killed, which works on stopped ones, too. Linux kills them all where
this process dies without a word (kill -9); elsewhere they would go on.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from exits import INTERRUPTED

from launching.screen import Screen, Tail
from launching.stopping import catch_stops
from launching.terminal import stand_in_terminal

POLL_SECONDS = 0.02
DRAIN_SECONDS = 2.0  # for output that is still on its way when its process has ended
SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


@dataclass
class Child:
    """One of the processes.

    Attributes:
      index: from 0; process 0 has the terminal.
      process: itself.
      tail: what it said last on standard error.
      readers: show its output, once they are started.
    """

    index: int
    process: subprocess.Popen
    tail: Tail
    readers: list[threading.Thread]


@dataclass
class Outcome:
    """How it went.

    Attributes:
      children: in the order of their commands, all ended.
      failed: the one that failed first, if any did.
      stops: the signals that asked for an end.
    """

    children: list[Child]
    failed: Child | None = None
    stops: list[signal.Signals] = field(default_factory=list)

    def exit_code(self) -> int:
        """0 or 75 if all ended well, or else as a shell gives it for the one that failed first."""
        if self.failed is not None:
            code = self.failed.process.returncode
            return code if code > 0 else 128 - code
        return INTERRUPTED if any(child.process.returncode for child in self.children) else 0


def supervise(commands: Sequence[Sequence[str]], grace_seconds: float, screen: Screen) -> Outcome:
    """Runs the commands side by side until all have ended.

    Args:
      commands: one a process. Process 0 has standard output, and a terminal if the screen is one; the lines of the
        others go to the screen behind their index.
      grace_seconds: from the failure of one, after which SIGTERM is sent to the others, to SIGKILL.
      screen: where output goes.
    """
    with ExitStack() as stack:
        stops = stack.enter_context(catch_stops())
        outcome = Outcome([], stops=stops)
        stack.callback(kill, outcome.children)
        for index, command in enumerate(commands):
            outcome.children.append(start(index, command, screen, stack))
        for child in outcome.children:  # only now: a process must not be forked while threads run
            for reader in child.readers:
                reader.start()
        watch(outcome, grace_seconds)
        for child in outcome.children:
            for reader in child.readers:
                reader.join(DRAIN_SECONDS)
    return outcome


def start(index: int, command: Sequence[str], screen: Screen, stack: ExitStack) -> Child:
    has_terminal = index == 0 and screen.is_terminal
    errors, its_errors = stack.enter_context(stand_in_terminal()) if has_terminal else os.pipe()
    output, its_output = os.pipe() if index else (None, None)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=its_output,
            stderr=its_errors,
            start_new_session=True,
            preexec_fn=make_mortal(),
        )
    finally:
        for descriptor in (its_errors, its_output):
            if descriptor is not None:
                os.close(descriptor)
    tail = Tail()
    readers = [make_reader(screen.show_stream if has_terminal else screen.show_lines, errors, index, tail)]
    if output is not None:
        readers.append(make_reader(screen.show_lines, output, index, Tail()))
    return Child(index, process, tail, readers)


def make_reader(show: Callable[[int, int, Tail], None], descriptor: int, index: int, tail: Tail) -> threading.Thread:
    return threading.Thread(target=show, args=(descriptor, index, tail), daemon=True)


def make_mortal() -> Callable[[], None] | None:
    """What a new process calls so that it is killed when this one dies; None where there is no such call."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent = ctypes.CDLL(None), os.getpid()

    def die_with_parent() -> None:
        library.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return die_with_parent


def watch(outcome: Outcome, grace_seconds: float) -> None:
    """Waits for all to end; passes a stop on, and ends all others when one fails."""
    noticed = 0
    deadline = float("inf")
    running = list(outcome.children)
    while running:
        for child in [child for child in running if child.process.poll() is not None]:
            running.remove(child)
            if outcome.failed is None and has_failed(child, outcome.stops[:noticed]):
                outcome.failed = child
                deadline = time.monotonic() + grace_seconds
                send(signal.SIGTERM, running)
        for number in outcome.stops[noticed:]:
            noticed += 1
            if noticed == 1:  # a terminal that was closed is a stop like the others
                send(signal.SIGTERM if number is signal.SIGHUP else number, running)
            else:
                deadline = 0.0
        if time.monotonic() > deadline:
            kill(running)
            deadline = float("inf")
        time.sleep(POLL_SECONDS)


def has_failed(child: Child, stops: Sequence[signal.Signals]) -> bool:
    """Whether it ended neither complete nor interrupted; at its very start a stop ends it by the signal itself."""
    code = child.process.returncode
    return code not in (0, INTERRUPTED) and not (len(stops) == 1 and -code in (stops[0], signal.SIGTERM))


def kill(children: Sequence[Child]) -> None:
    """Ends those that have not ended, and what they have started."""
    for child in children:
        if child.process.poll() is None:
            os.killpg(child.process.pid, signal.SIGKILL)


def send(number: signal.Signals, children: Sequence[Child]) -> None:
    for child in children:
        child.process.send_signal(number)
