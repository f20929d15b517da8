"""Seconds of a run by section: training, compiling, evaluating, writing checkpoints."""

import datetime
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up seconds by section, over all the processes that a run took one after the other.

    The seconds, and how often each section was entered, begin with those of earlier processes.
    """

    def __init__(self, seconds: dict[str, float] | None = None, entries: dict[str, int] | None = None) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float, seconds or {})
        self.entries: defaultdict[str, int] = defaultdict(int, entries or {})

    @contextmanager
    def section(self, name: str, entries: int = 1) -> Iterator[None]:
        """Adds the seconds inside to a section, and `entries` to its count."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - begin
            self.entries[name] += entries

    def total(self) -> float:
        return sum(self.seconds.values())

    def mean(self, name: str) -> float | None:
        """Returns the mean seconds per entry of a section; None if there was none."""
        return self.seconds[name] / self.entries[name] if self.entries[name] else None


class Speed:
    """Measures the entries of a section per second spent in it, over the last `SPAN` seconds or more.

    A rate over a single step would depend on how long the host waited for it, as two steps overlap.
    """

    SPAN = 1.0

    def __init__(self, clock: Clock, section: str) -> None:
        self._clock, self._section = clock, section
        self._readings = deque([self._now()])

    def _now(self) -> tuple[int, float]:
        return self._clock.entries[self._section], self._clock.seconds[self._section]

    def read(self) -> float:
        """Returns entries per second since the newest reading that is `SPAN` old, or the first one; 0 if none."""
        self._readings.append(self._now())
        while self._readings[-1][1] - self._readings[1][1] >= self.SPAN:
            self._readings.popleft()
        entries, seconds = (new - old for new, old in zip(self._readings[-1], self._readings[0], strict=True))
        return entries / seconds if seconds > 0 else 0.0


def format_duration(seconds: float) -> str:
    """Returns '1:02:03' for 3723 seconds."""
    return str(datetime.timedelta(seconds=round(seconds)))
