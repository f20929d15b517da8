"""Asking a run to stop: the first SIGINT or SIGTERM lets it finish its step and save, a second one ends it at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Whether a stop was asked for, and by which signal."""

    signal_name = ""

    def __bool__(self) -> bool:
        return bool(self.signal_name)


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a `StopRequest`; restores the former handlers at the end."""
    request = StopRequest()
    former: dict[signal.Signals, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        request.signal_name = signal.Signals(number).name
        for each in former:
            signal.signal(each, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        former[number] = signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
