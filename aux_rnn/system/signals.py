"""Asking a run to stop: the first SIGINT or SIGTERM lets it finish its step and save, a second one ends it at once.

Before there is a step to finish, the first one raises KeyboardInterrupt.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether a stop was asked for, and by which signal.

    Attributes:
      signal_name: of the signal; empty if there was none.
      is_over: to be set once all is done and written; signals that come later are ignored.
    """

    signal_name = ""
    is_over = False

    def __bool__(self) -> bool:
        return bool(self.signal_name)


@contextmanager
def interrupt_on_signals() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a KeyboardInterrupt.

    It is noted in the `StopRequest`, too, as an exception that comes up in a callback of the interpreter is lost.
    """
    request = StopRequest()
    with handle_signals(request, interrupt):
        yield request


def interrupt() -> None:
    raise KeyboardInterrupt


@contextmanager
def catch_signals(request: StopRequest | None = None) -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a `StopRequest`: the given one, or a new one."""
    request = StopRequest() if request is None else request  # one that was not made yet is false
    with handle_signals(request, lambda: None):
        yield request


@contextmanager
def handle_signals(request: StopRequest, action: Callable[[], None]) -> Iterator[None]:
    """Notes the first signal and does `action`; restores the former handlers at the end."""

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if request.is_over:
            return
        request.signal_name = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        action()

    with handlers(note, SIGNALS):
        yield


@contextmanager
def handlers(handler: Callable[[int, FrameType | None], None], signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Has signals handled so; restores the former handlers at the end."""
    former: dict[signal.Signals, Any] = {}
    try:
        for number in signals:
            former[number] = signal.signal(number, handler)
        yield
    finally:
        for number, each in former.items():
            signal.signal(number, each)


def ignore_signals() -> None:
    """For a process that has done everything and only ends: to be interrupted in that would look like a failure."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
