"""Stopping a command that answers for other processes: it never goes before they do."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StoppedError(Exception):
    """Whoever started this wants it to end."""


@contextmanager
def catch_stops() -> Iterator[list[signal.Signals]]:
    """Collects SIGINT, SIGTERM and SIGHUP in a list instead of dying of them; restores the former handlers at the end.

    SIGHUP, of a terminal that was closed, stays ignored where it was (nohup).
    """
    stops: list[signal.Signals] = []
    former: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        stops.append(signal.Signals(number))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        former[number] = signal.signal(number, note)
    try:
        yield stops
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
