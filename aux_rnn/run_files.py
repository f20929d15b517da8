"""All that a run writes, behind one door: its records, its checkpoints, its summary, and their copy elsewhere.

One process of a run has `RunFiles`; the others have `NoFiles`, which takes the same calls and does nothing.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from aux_rnn.checkpoints import CheckpointError, Checkpoints
from aux_rnn.config import Config
from aux_rnn.errors import first_line
from aux_rnn.metric_writers import MetricsFile, read_lines
from aux_rnn.mirror import LONGEST_REASON, Mirror, MirrorError, TakenOverError
from aux_rnn.plots_folder import find_reconstructions, save_reconstructions
from aux_rnn.workdir import REPORT, StorageError, Workdir, read_summary

if TYPE_CHECKING:
    from aux_rnn.tensorboard import EventFile

Restored = tuple[Any, dict[str, Any]]


class NoFiles:
    """What all processes but one write: nothing. Says what each call is for.

    Args:
      path: the run's folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def complete_summary(self) -> dict[str, Any] | None:
        """What `summary.json` says if the run that is there is complete."""
        return None

    def adopt(self) -> None:
        """Writes down what the folder is for; to be called once nothing but training is left to go wrong."""

    def restore(self, like: Any) -> Restored | None:
        """The newest intact state, and the meta data it was saved with; None for a run that is new.

        Args:
          like: a state of the same structure, shapes and types.

        Raises:
          CheckpointError: there are checkpoints but none is intact.
        """
        return None

    def begin(self, step: int, is_evaluated: bool, count: int) -> None:
        """Opens the records, without those that will come again; see `MetricsFile`. Raises WorkdirError."""

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Appends to `metrics.jsonl`. Raises StorageError, as all that follow do."""

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Begins to write a checkpoint; it covers all records so far."""

    def save_best(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """As `save`, for the checkpoint that is kept apart until there is a better one."""

    def show(self, step: int, draw: Callable[[], bytes | None]) -> None:
        """Draws reconstructions after a step and saves the figure; a failure is logged and ends nothing.

        Args:
          step: complete steps.
          draw: returns the figure as a PNG, or None if it was stopped.
        """

    def finish(self, summary: dict[str, Any]) -> None:
        """Waits until everything is on disk, writes `summary.json`, and copies all to where the run belongs."""

    def note_failure(self, summary: dict[str, Any]) -> None:
        """Writes `summary.json` if that can be done; what went wrong before is not to be hidden by it."""

    def last_good(self) -> str:
        """The newest complete checkpoint, in words."""
        return "that of process 0"

    def close(self) -> None:
        """Lets go of everything."""


class RunFiles(NoFiles):
    """See `NoFiles` for what each call is for.

    Args:
      path: the run's folder.
      config: what it is for.
      mirror: where its copy is kept, if that is elsewhere.

    Raises:
      WorkdirError: the folder cannot be used, or belongs to another run.
    """

    def __init__(self, path: Path, config: Config, mirror: Mirror | None = None) -> None:
        super().__init__(path)
        self._workdir, self._mirror, self._config = Workdir(path, config), mirror, config
        self._records: MetricsFile | None = None
        self._events: EventFile | None = None

    # Opened when a run begins or goes on, not by looking whether it is complete.
    @functools.cached_property
    def _latest(self) -> Checkpoints:
        return Checkpoints(self._workdir.checkpoints)

    @functools.cached_property
    def _best(self) -> Checkpoints:
        return Checkpoints(self._workdir.best, keep=1)

    def complete_summary(self) -> dict[str, Any] | None:
        summary = read_summary(self.path)
        return summary if summary and summary.get("status") == "complete" else None

    def adopt(self) -> None:
        self._workdir.adopt(self._config)
        if self._mirror:
            self._mirror.claim()
            self._mirror.push(self.path)

    def restore(self, like: Any) -> Restored | None:
        try:
            restored = self._latest.restore_latest(like)
        except CheckpointError as error:
            restored = self._restore_best(like, str(error))
            if restored is None:
                raise
            self._latest.set_aside(self._latest.steps())
            return restored
        return restored or self._restore_best(like, f"{self._latest.folder}: has no checkpoint any more")

    def _restore_best(self, like: Any, reason: str) -> Restored | None:
        restored = self._best.restore_latest(like)
        if restored is not None:
            logging.warning("%s; the run goes on from the best one, in %s", reason, self._best.folder)
        return restored

    def begin(self, step: int, is_evaluated: bool, count: int) -> None:
        self._records = MetricsFile(self._workdir.metrics, step, is_evaluated, count)
        if self._config.run.pictures:
            with self._showing("tensorboard/"):
                self._events = open_events(self.path, step, is_evaluated)

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        assert self._records is not None
        with self._storing("metrics.jsonl"):
            record = self._records.write(kind, step, values)
        self._add_event(lambda events: events.write(record))

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        self._save(self._latest, step, state, meta)

    def save_best(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        self._save(self._best, step, state, meta)

    def _save(self, checkpoints: Checkpoints, step: int, state: Any, meta: dict[str, Any]) -> None:
        assert self._records is not None
        with self._storing(f"checkpoint {step}"):
            self._records.sync()
            checkpoints.save(step, state, {**meta, "records": self._records.count})
            if self._mirror:
                checkpoints.wait()  # only what is complete is copied
        self._push()

    def show(self, step: int, draw: Callable[[], bytes | None]) -> None:
        with self._showing(f"the figure of reconstructions after step {step}"):
            if (picture := draw()) is not None:
                save_reconstructions(self.path, step, picture)
                self._add_event(lambda events: events.show(step, picture))

    def finish(self, summary: dict[str, Any]) -> None:
        with self._storing("the last checkpoint"):
            self._latest.wait()
            self._best.wait()
        if self._config.run.pictures and summary["status"] == "complete":
            with self._showing(REPORT):
                # Here and not above: it draws, see `open_events`.
                from aux_rnn.report import save_report

                save_report(self.path, summary)
        with self._storing("summary.json"):
            self._workdir.write_summary(summary)
        if self._mirror:
            self._mirror.push(self.path)

    def note_failure(self, summary: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, StorageError):
            self._workdir.write_summary(summary)
            self._push()

    def last_good(self) -> str:
        steps = self._latest.steps()
        return str(self._workdir.checkpoints / str(steps[0])) if steps else "none"

    def close(self) -> None:
        # Whatever had to be written was waited for in `finish`.
        opened = [self.__dict__.get(name) for name in ("_events", "_records", "_latest", "_best", "_workdir")]
        for part in filter(None, opened):
            with contextlib.suppress(Exception):
                part.close()

    def _push(self) -> None:
        """Copies what is new; a network that fails for a while does not end the run, whose folder is here."""
        try:
            if self._mirror:
                self._mirror.push(self.path)
        except TakenOverError:
            raise
        except MirrorError as error:
            logging.warning("%s; it is tried again after the next checkpoint", error)

    def _add_event(self, add: "Callable[[EventFile], None]") -> None:
        """Adds to the events for TensorBoard, until that fails; the next start of the run writes them anew."""
        events, self._events = self._events, None
        with self._showing("an event in tensorboard/"), contextlib.ExitStack() as closing:
            if events is not None:
                closing.callback(events.close)
                add(events)
                closing.pop_all()
                self._events = events

    @contextlib.contextmanager
    def _showing(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # nothing that is only looked at is worth a run
            reason = first_line(error, LONGEST_REASON)
            logging.warning("%s: %s could not be made (%s); the run goes on", self.path, what, reason)

    @contextlib.contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises whatever its layers raise
            reason = getattr(error, "strerror", None) or first_line(error, LONGEST_REASON)
            raise StorageError(
                f"{self.path}: {what} cannot be written ({reason}); the last good checkpoint is "
                f"{self.last_good()}; make room there, then the same command continues"
            ) from error


def open_events(path: Path, step: int, is_evaluated: bool) -> "EventFile":
    """The events for TensorBoard of a run that goes on after a step, with all that its records say so far."""
    # Here and not above: a second to import, which a run without pictures need not wait for.
    from aux_rnn.tensorboard import EventFile

    figures = find_reconstructions(path) if is_evaluated else {}  # else that of this step is drawn again
    return EventFile(path / "tensorboard", step, read_lines(path / "metrics.jsonl"), figures)


def open_files(path: Path, config: Config, is_main: bool, mirror: Mirror | None = None) -> NoFiles:
    """The files of a run in its main process, none in others. Raises WorkdirError."""
    return RunFiles(path, config, mirror) if is_main else NoFiles(path)
