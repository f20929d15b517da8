"""All that a run writes, behind one door: its records, its checkpoints, its summary, and their copy elsewhere.

One process of a run has `RunFiles`; the others have `NoFiles`, which takes the same calls and does nothing.
"""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from aux_rnn.checkpoints import CheckpointError, Checkpoints
from aux_rnn.config import Config
from aux_rnn.metric_writers import MetricsFile
from aux_rnn.mirror import Mirror, MirrorError, TakenOverError
from aux_rnn.workdir import StorageError, Workdir, read_summary

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

    def adopt(self, config: Config) -> None:
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
        self._workdir, self._mirror = Workdir(path, config), mirror
        self._records: MetricsFile | None = None

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

    def adopt(self, config: Config) -> None:
        self._workdir.adopt(config)
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

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        assert self._records is not None
        with self._storing("metrics.jsonl"):
            self._records.write(kind, step, values)

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

    def finish(self, summary: dict[str, Any]) -> None:
        with self._storing("the last checkpoint"):
            self._latest.wait()
            self._best.wait()
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
        opened = [self.__dict__.get(name) for name in ("_records", "_latest", "_best", "_workdir")]
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

    @contextlib.contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax raises whatever its layers raise
            reason = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StorageError(
                f"{self.path}: {what} cannot be written ({reason[:200]}); the last good checkpoint is "
                f"{self.last_good()}; make room there, then the same command continues"
            ) from error


def open_files(path: Path, config: Config, is_main: bool, mirror: Mirror | None = None) -> NoFiles:
    """The files of a run in its main process, none in others. Raises WorkdirError."""
    return RunFiles(path, config, mirror) if is_main else NoFiles(path)
