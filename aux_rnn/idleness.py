"""Keeping the devices busy: a step is recorded once the next one has been started, and time without work is counted."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from aux_rnn.metrics import Metrics
from aux_rnn.steps import TrainState


@dataclasses.dataclass(frozen=True)
class Unsettled:
    """What must be kept of a step that was started, as the next one takes over the memory of its state.

    Attributes:
      number: complete steps after it.
      phase: 'pretrain' or 'train'.
      section: of the clock, where its time belongs.
      marker: an array that is there once the step is complete.
      recorded: the metrics and the first bad step (see `TrainState`), if they are to be recorded after this step.
    """

    number: int
    phase: str
    section: str
    marker: jax.Array
    recorded: tuple[Metrics, jax.Array] | None

    @classmethod
    def of(cls, state: TrainState, number: int, phase: str, section: str, is_recorded: bool) -> "Unsettled":
        recorded = (state.metrics, state.first_nonfinite_step) if is_recorded else None
        return cls(number, phase, section, *jax.tree.map(jnp.copy, (state.step, recorded)))


class Idleness:
    """Adds up the seconds in which the devices may have had nothing to do.

    Args:
      seconds: of earlier processes of the run.
      now: the time in seconds; handed in so that a test need not wait.
    """

    def __init__(self, seconds: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._now, self._since = now, now()

    def begin(self) -> None:
        """Up to now the devices had work; on a CPU the call that starts a step may return with the step complete."""
        self._since = self._now()

    def end(self, last: Any) -> None:
        """New work is about to be started.

        Args:
          last: of the work started before. While it is not there the devices are busy; once it is, they may have been
            idle since `begin`, which is counted, and is more than what is true.
        """
        if last is None or last.is_ready():
            self.seconds += self._now() - self._since
