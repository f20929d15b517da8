"""Signals that stop a run: after the first SIGINT or SIGTERM it finishes the started steps and saves; a second ends it.

Before the first step, the first signal raises KeyboardInterrupt.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """A request to stop, true once a signal has arrived.

    Attributes:
      signal_name: name of the signal; empty if there was none.
      is_over: set this once everything is written; later signals are ignored.
    """

    signal_name = ""
    is_over = False

    def __bool__(self) -> bool:
        return bool(self.signal_name)


@contextmanager
def interrupt_on_signals() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a KeyboardInterrupt.

    The `StopRequest` records it as well, because an exception in a callback of the interpreter is lost.
    """
    with catch_signals(interrupts=True) as request:
        try:
            yield request
        except ImportError as error:  # becomes of a KeyboardInterrupt while an extension module is imported
            if request:
                raise KeyboardInterrupt from error
            raise


@contextmanager
def catch_signals(request: StopRequest | None = None, interrupts: bool = False) -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a `StopRequest`, and with `interrupts` into a KeyboardInterrupt, too."""
    request = StopRequest() if request is None else request  # a request without a signal is false

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if request.is_over:
            return
        request.signal_name = signal.Signals(number).name
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if interrupts:
            raise KeyboardInterrupt

    with handlers(note, SIGNALS):
        yield request


@contextmanager
def handlers(handler: Callable[[int, FrameType | None], None], signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Installs a signal handler; restores the former handlers at the end."""
    former: dict[signal.Signals, Any] = {}
    try:
        for number in signals:
            former[number] = signal.signal(number, handler)
        yield
    finally:
        for number, each in former.items():
            signal.signal(number, each)


@contextmanager
def delay_signals() -> Iterator[None]:
    """Delays SIGINT and SIGTERM until the end of the block: an exception may crash an extension that is imported."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def ignore_signals() -> None:
    """Ignores further signals in a process that is about to end, where an interruption would look like a failure."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
