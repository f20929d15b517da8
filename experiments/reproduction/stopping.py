"""Stopping a command that watches over other processes: it never goes before they do."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

# A scheduler may signal the whole group and its leader once more, a terminal a key held down: all that is one request.
PATIENCE_SECONDS = 2.0


class StopRequests:
    """How often a stop was asked for; a request soon after another counts with it.

    Args:
      now: the time in seconds; handed in so that a test need not wait.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._now, self._last = now, 0.0

    def __bool__(self) -> bool:
        return self.count > 0

    def note(self, number: int = 0, frame: FrameType | None = None) -> None:
        """A handler of signals."""
        del number, frame
        now = self._now()
        if not self.count or now - self._last > PATIENCE_SECONDS:
            self.count += 1
        self._last = now


@contextmanager
def catch_stop_requests() -> Iterator[StopRequests]:
    """Counts SIGINT and SIGTERM instead of dying of them; restores the former handlers at the end."""
    requests = StopRequests()
    former: dict[signal.Signals, Any] = {
        number: signal.signal(number, requests.note) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield requests
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
