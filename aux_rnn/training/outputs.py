"""The outputs of a run: records, checkpoints, figures, the summary, and their copy at an address.

Process 0 has `RunOutputs`; all other processes have `NullOutputs`, which accepts the same calls and writes nothing.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import logging

from aux_rnn.config.settings import Config
from aux_rnn.datasets.arrays import Form
from aux_rnn.errors import first_line
from aux_rnn.storage.checkpoints import MAX_REASON, CheckpointWriter, Restored, list_steps, read_latest
from aux_rnn.storage.metrics_file import MetricsFile, read_lines
from aux_rnn.storage.model_file import write_form
from aux_rnn.storage.remote import RemoteCopy
from aux_rnn.storage.workdir import (
    REPORT,
    StorageError,
    find_reconstructions,
    has_more_epochs,
    lock,
    read_summary,
    require_same_config,
    save_reconstructions,
    write_config,
    write_summary,
)

if TYPE_CHECKING:
    from aux_rnn.storage.tensorboard import EventFile


class NullOutputs:
    """Accepts the outputs of a run in a folder and writes nothing.

    If the run in the folder has fewer epochs of joint training than now, `extended_from` is their number, else 0.
    """

    extended_from = 0

    def __init__(self, path: Path) -> None:
        self.path = path

    def complete_summary(self) -> dict[str, Any] | None:
        """Returns the content of `summary.json` if the run in the folder is complete."""
        return None

    def write_config(self, form: Form) -> None:
        """Writes `config.json` and `form.json`; called once only training itself can still fail."""

    def restore(self, like: Any) -> Restored | None:
        """Reads the newest intact checkpoint; returns None for a new run. See `read_latest`."""
        return None

    def open(self, step: int, is_evaluated: bool, count: int) -> None:
        """Opens the records after `step` steps and drops those beyond the `count` that the restored checkpoint covers.

        Whether the evaluation after that step was made before the checkpoint is in `is_evaluated`. Raises WorkdirError
        if the records cannot be continued.
        """

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Appends a record to `metrics.jsonl`."""

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Starts to write a checkpoint, which covers all records so far; `meta["best"]` names the one to keep."""

    def show(self, step: int, draw: Callable[[], bytes | None]) -> None:
        """Saves the PNG that `draw` returns, unless it was interrupted (None). A failure is logged, not raised."""

    def finish(self, summary: dict[str, Any]) -> None:
        """Waits until everything is on disk, writes `summary.json`, and copies all files to the address."""

    def write_failed_summary(self, summary: dict[str, Any]) -> None:
        """Writes `summary.json` if possible; an error here must not hide the one that ended the run."""

    def latest_checkpoint_path(self) -> str:
        """Returns the newest complete checkpoint, for messages; empty for outputs that are not written."""
        return ""

    def close(self) -> None:
        """Closes all files and releases the folder."""


class RunOutputs(NullOutputs):
    """Writes the outputs of a run into a locked folder, and copies them to the address of `remote`.

    With `extends`, the run in the folder may be continued with more epochs. Raises WorkdirError if the folder cannot be
    written, or belongs to another run.
    """

    _records: MetricsFile
    _checkpoints: CheckpointWriter

    def __init__(self, path: Path, config: Config, remote: RemoteCopy | None = None, extends: bool = False) -> None:
        super().__init__(path)
        self._config, self._remote, self._extends = config, remote, extends
        self._events: EventFile | None = None
        with contextlib.ExitStack() as opened:
            opened.enter_context(lock(path))
            previous = require_same_config(path, config, extends)
            if previous is not None and has_more_epochs(previous, config):
                self.extended_from = previous.run.train_epochs
            self._opened = opened.pop_all()

    def complete_summary(self) -> dict[str, Any] | None:
        summary = read_summary(self.path)
        return summary if summary and summary["status"] == "complete" and not self.extended_from else None

    def write_config(self, form: Form) -> None:
        if self._remote:
            self._remote.take_ownership(self.path)  # This may download a newer state of the run.
            require_same_config(self.path, self._config, self._extends)
        write_form(self.path, form)
        write_config(self.path, self._config)
        if self._remote:
            self._remote.upload(self.path)

    def restore(self, like: Any) -> Restored | None:
        folder = self.path / "checkpoints"
        restored = read_latest(folder, like)
        self._checkpoints = self._opened.enter_context(contextlib.closing(CheckpointWriter(folder)))
        return restored

    def open(self, step: int, is_evaluated: bool, count: int) -> None:
        self._records = MetricsFile(self.path / "metrics.jsonl", count)
        self._opened.callback(self._records.close)
        if self._config.run.pictures:
            with self._log_failures("tensorboard/"):
                # Imported here because it takes a second, which a run without figures need not wait for.
                from aux_rnn.storage.tensorboard import EventFile

                # Without its evaluation, the figure of this step is drawn again.
                figures = find_reconstructions(self.path) if is_evaluated else {}
                records = read_lines(self.path / "metrics.jsonl")
                self._events = EventFile(self.path / "tensorboard", step, records, figures)
                self._opened.callback(self._events.close)

    def record(self, kind: str, step: int, values: dict[str, Any]) -> None:
        record = self._records.write(kind, step, values)
        if self._events:
            self._events.write(record)

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        self._records.sync()
        best_step = meta["best"] and meta["best"]["step"]
        self._checkpoints.save(step, state, {**meta, "records": self._records.count}, best_step)
        if self._remote:
            self._checkpoints.wait()  # An incomplete checkpoint is not copied.
            self._remote.upload(self.path)

    def show(self, step: int, draw: Callable[[], bytes | None]) -> None:
        with self._log_failures(f"the figure of reconstructions after step {step}"):
            if (picture := draw()) is not None:
                save_reconstructions(self.path, step, picture)
                if self._events:
                    self._events.show(step, picture)

    def finish(self, summary: dict[str, Any]) -> None:
        self._checkpoints.wait()
        if self._config.run.pictures and summary["status"] == "complete":
            with self._log_failures(REPORT):
                # Imported here because Matplotlib takes a second.
                from aux_rnn.plots.report import save_report

                save_report(self.path, summary)
        write_summary(self.path, summary)
        if self._remote:
            self._remote.sync(self.path)

    def write_failed_summary(self, summary: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, StorageError):
            write_summary(self.path, summary)
            if self._remote:
                self._remote.sync(self.path)

    def latest_checkpoint_path(self) -> str:
        with contextlib.suppress(Exception):  # An earlier checkpoint remains if this one cannot be written.
            self._checkpoints.wait()
        steps = list_steps(self.path / "checkpoints")
        return str(self.path / "checkpoints" / str(steps[0])) if steps else "none"

    def close(self) -> None:
        self._opened.close()

    @contextlib.contextmanager
    def _log_failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # A figure is not worth ending a run.
            reason = first_line(error, MAX_REASON)
            logging.warning("%s: %s could not be made (%s); the run continues", self.path, what, reason)
