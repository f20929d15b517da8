"""A slice of TPUs for the time of a run: made, or found and left as it was."""

import json
import shlex
import time
from collections.abc import Callable, Sequence
from typing import Any

from exits import BAD_INPUT, FAILED, INTERRUPTED

from launching.gcloud import CommandError, Slice, run
from launching.stopping import StoppedError

# On the way to ACTIVE; ACCEPTED is an older name of WAITING_FOR_RESOURCES.
WAITING = ("CREATING", "ACCEPTED", "PROVISIONING", "WAITING_FOR_RESOURCES")
PATIENCE = 60  # looks in a row that may fail once the slice is there, as of a network that is gone for half an hour
DELETIONS = 5  # attempts


class SliceError(Exception):
    """The slice cannot be had. The text says why, in one line.

    Attributes:
      code: the exit code that fits.
    """

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code


class SliceLostError(SliceError):
    """The slice is gone, as it is when it is preempted."""


class Lease:
    """Holds a slice until the end of the context, which deletes it if it was made here.

    Args:
      where: the slice.
      keep: whether it stays.
      poll_seconds: from one look to the next.
      stops: requests to stop, which end every wait.
      say: shows a line.

    Attributes:
      is_ours: whether it was made here.
      is_left: whether it could not be deleted.
    """

    def __init__(
        self, where: Slice, keep: bool, poll_seconds: float, stops: Sequence[Any], say: Callable[[str], None]
    ) -> None:
        self.where, self.is_ours, self.is_left = where, False, False
        self._keep, self._poll_seconds, self._stops, self._say = keep, poll_seconds, stops, say

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.is_ours and self._keep:
            self._say(f"{self.where.name} is kept and costs money; to delete it: {shlex.join(self.where.delete())}")
        elif self.is_ours:
            self._delete()

    def look(self) -> None:
        """Raises StoppedError where that was asked for."""
        if self._stops:
            raise StoppedError

    def pause(self) -> None:
        """Waits until the next look is due. Raises StoppedError."""
        end = time.monotonic() + self._poll_seconds
        while (left := end - time.monotonic()) > 0:
            self.look()
            time.sleep(min(left, 0.1))
        self.look()

    def acquire(self) -> None:
        """Takes the slice that is there, or makes one, and waits until it is active.

        Raises:
          SliceError: it cannot be had; SliceLostError if it is gone again.
          CommandError, StoppedError.
        """
        found = self._describe()
        if found:
            self._check(found)
            self._say(f"{self.where.name} is there already; it is used and not deleted")
        else:
            self._create()
        self._wait()

    def renew(self) -> None:
        """Makes the slice again. Raises as `acquire`, and SliceError if it is not ours."""
        if not self.is_ours:
            raise SliceError(
                f"{self.where.name}: is no longer active, and was not made by this command; once it is deleted, the "
                f"same command makes it and continues the run: {shlex.join(self.where.delete())}",
                INTERRUPTED,
            )
        self._delete()
        if self.is_left:
            raise SliceError(f"{self.where.name}: cannot be deleted to be made again")
        self.look()
        self._create()
        self._wait()

    def is_active(self) -> bool:
        """Whether it is still there. Raises CommandError, StoppedError."""
        return state_of(self._describe_patiently()) == "ACTIVE"

    def _describe(self) -> dict[str, Any]:
        """Empty if there is none."""
        command = self.where.describe()
        try:
            return json.loads(run(command))
        except ValueError:
            raise CommandError(command, 0, "what it said is no JSON") from None
        except CommandError as error:
            if error.is_missing:
                return {}
            raise

    def _describe_patiently(self) -> dict[str, Any]:
        for _ in range(PATIENCE - 1):
            try:
                return self._describe()
            except CommandError as error:
                self._say(f"{error}; asking again")
                self.pause()
        return self._describe()

    def _check(self, found: dict[str, Any]) -> None:
        state = state_of(found)
        if state not in (*WAITING, "ACTIVE"):
            raise SliceError(
                f"{self.where.name}: there is one already, in state {state}; choose another NAME, or delete it: "
                f"{shlex.join(self.where.delete())}",
                BAD_INPUT,
            )
        for spec in found.get("tpu", {}).get("nodeSpec", []):
            accelerator = spec.get("node", {}).get("acceleratorType", self.where.accelerator)
            if accelerator != self.where.accelerator:
                raise SliceError(
                    f"--accelerator={self.where.accelerator}: {self.where.name} is there already, a {accelerator}",
                    BAD_INPUT,
                )

    def _create(self) -> None:
        self._say(f"making {self.where.name}: {self.where.accelerator} in {self.where.zone}")
        self.is_ours = True  # even if the command fails: it may have been made all the same
        try:
            run(self.where.create())
        except CommandError as error:
            self.is_ours = not error.is_taken
            raise

    def _wait(self) -> None:
        shown = ""
        while True:
            found = self._describe_patiently()
            state = state_of(found)
            if state != shown:
                self._say(f"{self.where.name}: {state or 'gone'}")
                shown = state
            if state == "ACTIVE":
                return
            if state == "FAILED":
                failure = found["state"].get("failedData", {}).get("error", {}).get("message", "no reason is given")
                raise SliceError(f"{self.where.name}: {state}: {failure}")
            if state not in WAITING:
                raise SliceLostError(f"{self.where.name}: {state or 'gone'}")
            self.pause()

    def _delete(self) -> None:
        """Says so where it fails: what is left costs money."""
        self._say(f"deleting {self.where.name}")
        for attempt in range(1, DELETIONS + 1):
            try:
                run(self.where.delete())
                break
            except CommandError as error:
                if error.is_missing:
                    break
                self._say(str(error))
                if attempt == DELETIONS or len(self._stops) > 2:
                    self.is_left = True
                    return
                time.sleep(self._poll_seconds)
        self.is_ours = False


def state_of(found: dict[str, Any]) -> str:
    """Of a queued resource, as gcloud describes it; empty if there is none."""
    return found.get("state", {}).get("state", "of unknown state") if found else ""
