"""Where the seconds of a run go: training, compiling, evaluating, writing checkpoints."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Adds up seconds by section, over all the processes that a run took.

    Args:
      seconds: what earlier processes of the run needed, by section.
      now: the time in seconds; handed in so that a test need not wait.
    """

    def __init__(self, seconds: dict[str, float] | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float, seconds or {})
        self._now = now

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        begin = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - begin

    def total(self) -> float:
        return sum(self.seconds.values())


class Speed:
    """Steps a second since the last reading, counting time spent in one section only."""

    def __init__(self, clock: Clock, section: str, step: int) -> None:
        self._clock, self._section = clock, section
        self._mark = (step, clock.seconds[section])

    def read(self, step: int) -> float:
        """Steps a second since the last call; 0 if there were none."""
        steps, seconds = step - self._mark[0], self._clock.seconds[self._section] - self._mark[1]
        self._mark = (step, self._clock.seconds[self._section])
        return steps / seconds if seconds > 0 else 0.0
