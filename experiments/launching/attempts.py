"""A run on a slice that may be taken away at any time: again and again until it is complete, fails or gets nowhere."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from exits import BAD_INPUT, FAILED

from launching.gcloud import CommandError, Slice, end, list_folder, run, show_file
from launching.lease import Lease, SliceError, SliceLostError
from launching.stopping import StoppedError
from launching.verdicts import Verdict, judge
from launching.workers import Order, copy_and_install, stop_order, train_order

FUTILE_ATTEMPTS = 5  # in a row without a step of progress, after which it is given up
STOP_SECONDS = 300.0  # for the run to finish its step and save


class RunError(Exception):
    """main.py failed on the slice. The text says why, in one line.

    Attributes:
      code: its exit code.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Ending(NamedTuple):
    """How an attempt ended.

    Attributes:
      verdict: what became of it.
      problem: a text for it, empty if it is complete.
      error: to be raised, unless the slice turns out to have been taken away.
    """

    verdict: Verdict
    problem: str = ""
    error: Exception | None = None


class Attempts:
    """Attempts of one run.

    Args:
      lease: the slice.
      archive: the packed code.
      workdir: gs://...
      flags: of main.py.
      stops: requests to stop.
      say: shows a line of ours, and of gcloud's.
      show: shows a line of the workers.
    """

    def __init__(
        self,
        lease: Lease,
        archive: str,
        workdir: str,
        flags: Sequence[str],
        stops: Sequence[Any],
        say: Callable[[str], None],
        show: Callable[[str], None],
    ) -> None:
        self._lease, self._archive, self._workdir, self._flags = lease, archive, workdir, flags
        self._stops, self._say, self._show = stops, say, show
        self._workers = 0  # that have the code
        self._steps = -1
        self._futile = 0

    def run_to_end(self) -> None:
        """Raises SliceError, CommandError, RunError, StoppedError."""
        ending = self._try_slice(self._lease.acquire)
        while True:
            ending = ending or self._attempt()
            if ending.verdict is Verdict.COMPLETE:
                return
            if self._stops:
                raise ending.error or StoppedError
            is_active = self._lease.is_active()
            if is_active and ending.error is not None:
                raise ending.error
            self._count(ending.problem)
            if is_active and (ending.verdict is Verdict.LOST or not self._lease.is_ours):
                self._say(f"{ending.problem}; the slice is still there: going on")
                self._lease.pause()
                ending = None
            else:
                self._say(f"{ending.problem}; the slice is made again, and the run continues")
                self._workers = 0
                ending = self._try_slice(self._lease.renew)

    def _try_slice(self, get: Callable[[], None]) -> Ending | None:
        """The end of an attempt whose slice was lost before it could be used; None if it was not."""
        try:
            get()
        except SliceLostError as error:
            return Ending(Verdict.LOST, str(error))
        return None

    def _attempt(self) -> Ending:
        """Brings the code to workers that do not have it and trains."""
        where = self._lease.where
        if not self._workers:
            try:
                self._workers = copy_and_install(where, self._archive, self._say, self._say, self._lease.look)
            except CommandError as error:
                return Ending(Verdict.LOST, str(error), error)
        order = Order(where.ssh(train_order(self._flags)), self._show, self._say)
        with Stopper(where, self._stops) as stopper:
            code = order.give(stopper.look)
        verdict = judge(order.codes, self._workers, self._read_summary().get("status", ""))
        problem = order.last_error or str(CommandError(order.command, code, "\n".join(order.output)))
        if verdict is Verdict.INTERRUPTED:
            problem = f"{where.name}: interrupted"
        if verdict is not Verdict.FAILED:
            return Ending(verdict, problem)
        failed = BAD_INPUT if BAD_INPUT in order.codes else FAILED
        text = order.last_error or "main.py failed as said above"
        return Ending(verdict, text, RunError(f"{text} (exit code {failed} on {where.name})", failed))

    def _read_summary(self) -> dict[str, Any]:
        """Empty if there is none, or none that can be read."""
        try:
            summary = json.loads(run(show_file(f"{self._workdir}/summary.json")))
        except (CommandError, ValueError):
            return {}
        return summary if isinstance(summary, dict) else {}

    def _read_steps(self) -> int:
        """How far the run is: by its newest checkpoint, or by its summary, which one that was killed did not write."""
        try:
            folders = run(list_folder(f"{self._workdir}/checkpoints")).split()
        except CommandError:
            folders = []
        steps = [int(match.group(1)) for folder in folders if (match := re.search(r"/(\d+)/?$", folder))]
        summary = self._read_summary().get("steps", 0)
        return max([*steps, summary if isinstance(summary, int) else 0])

    def _count(self, problem: str) -> None:
        """Gives up after too many attempts without progress. Raises SliceError."""
        steps = self._read_steps()
        self._futile = 1 if steps > self._steps else self._futile + 1
        self._steps = max(steps, self._steps)
        if self._futile >= FUTILE_ATTEMPTS:
            raise SliceError(
                f"{FUTILE_ATTEMPTS} attempts without progress beyond step {self._steps}; the last: {problem}"
            )


class Stopper:
    """Lets a run that is under way save and leave when a stop is asked for.

    Args:
      where: the slice.
      stops: requests to stop.
    """

    def __init__(self, where: Slice, stops: Sequence[Any]) -> None:
        self._where, self._stops = where, stops
        self._order: subprocess.Popen | None = None
        self._deadline = float("inf")

    def __enter__(self) -> "Stopper":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._order is not None:
            end(self._order)

    def look(self) -> None:
        """Passes the first stop on. Raises StoppedError at a second one, or where the run does not end for long."""
        if self._stops and self._order is None:
            self._order = subprocess.Popen(
                self._where.ssh(stop_order()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._deadline = time.monotonic() + STOP_SECONDS
        if len(self._stops) > 1 or time.monotonic() > self._deadline:
            raise StoppedError
