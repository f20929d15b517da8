"""Stopping a command that answers for other processes: it never goes before they do."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from aux_rnn.interruption import SIGNALS, handlers


class StoppedError(Exception):
    """Whoever started this wants it to end."""


@contextmanager
def catch_stops() -> Iterator[list[signal.Signals]]:
    """Collects SIGINT, SIGTERM and SIGHUP in a list instead of dying of them; restores the former handlers at the end.

    SIGHUP, of a terminal that was closed, stays ignored where it was (nohup).
    """
    stops: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        stops.append(signal.Signals(number))

    is_held = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    with handlers(note, SIGNALS if is_held else (*SIGNALS, signal.SIGHUP)):
        yield stops
