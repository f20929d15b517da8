"""The folder of one run: its configuration, metrics, summary and checkpoints."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

from aux_rnn.config import Config, ConfigError, describe_difference, from_json, to_json
from aux_rnn.errors import OneLineError
from aux_rnn.settings import is_integer, is_plain_text

REPORT = "report.html"
LARGEST_SHOWN = 1e12  # of a metric, or seconds of a run


class WorkdirError(OneLineError):
    """The folder cannot be used. The text names it and the remedy, in one line.

    Examples:
      >>> Workdir(Path("/dev/null/run"), Config())
      Traceback (most recent call last):
      aux_rnn.workdir.WorkdirError: --workdir=/dev/null/run: cannot be written (Not a directory); make room or ...
    """


class InUseError(WorkdirError):
    """Another process is using the folder."""


class StorageError(OneLineError):
    """Results cannot be written. The text says where, why, and from which checkpoint the run can go on, in one line.

    Examples:
      >>> import tempfile
      >>> from aux_rnn.run_files import RunFiles
      >>> files = RunFiles(Path(tempfile.mkdtemp()), Config())
      >>> files.begin(step=0, is_evaluated=True, count=0)
      >>> files.record("train", 1, {"loss": object()})
      Traceback (most recent call last):
      aux_rnn.workdir.StorageError: ...: metrics.jsonl cannot be written (Object of type object is not JSON ...
    """


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a run after a crash, finds the old text or the new one and nothing between."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class Workdir:
    """A folder that belongs to one run of one configuration, locked while it is open.

    Opening it again with the same configuration continues the run.

    Args:
      path: the folder; made if it is missing.
      config: what it is for.

    Raises:
      InUseError: another process is using it.
      WorkdirError: it cannot be written, or it belongs to another configuration.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.best = path / "best"
        self.metrics = path / "metrics.jsonl"
        self._summary = path / "summary.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise InUseError(f"--workdir={path}: another run is using it; wait for it or choose another") from error
        except OSError as error:
            self.close()
            raise WorkdirError(
                f"--workdir={path}: cannot be locked ({error.strerror}); choose another folder"
            ) from error
        try:
            self._compare(config)
        except WorkdirError:
            self.close()
            raise

    def _compare(self, config: Config) -> None:
        previous = read_config(self.path)
        if previous is None and any(self.checkpoints.glob("*")):
            raise WorkdirError(
                f"--workdir={self.path}: has checkpoints but no config.json; restore it, or choose another"
            )
        if previous is not None and (changes := describe_difference(previous, config)):
            raise WorkdirError(
                f"--workdir={self.path}: holds a run with other settings ({changes}); "
                "choose another folder, or give the old settings"
            )

    def adopt(self, config: Config) -> None:
        """Writes down what the folder is for; to be called once nothing but training is left to go wrong.

        Raises:
          WorkdirError: it cannot be written.
        """
        try:
            if read_config(self.path) is None:
                write_atomically(self.path / "config.json", to_json(config))
        except OSError as error:
            raise unwritable(self.path, error) from error

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_atomically(self._summary, json.dumps(summary, indent=2, allow_nan=False) + "\n")

    def close(self) -> None:
        self._lock.close()


def unwritable(path: Path, error: OSError) -> WorkdirError:
    return WorkdirError(f"--workdir={path}: cannot be written ({error.strerror}); make room or choose another folder")


def read_config(path: Path) -> Config | None:
    """The configuration of the run in a folder, or None if there is no run.

    Raises:
      WorkdirError: there is a configuration, but it cannot be read.
    """
    file = path / "config.json"
    try:
        return from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ConfigError) as error:
        raise WorkdirError(
            f"{file}: not a configuration of this version ({error}); choose another --workdir"
        ) from error


def require_config(path: Path) -> Config:
    """The configuration of the run in a folder; raises WorkdirError if there is none."""
    config = read_config(path)
    if config is None:
        raise WorkdirError(f"--workdir={path}: holds no run; train one first, or name another folder")
    return config


def read_summary(path: Path) -> dict[str, Any] | None:
    """What `summary.json` says, or None if there is none that can be read; it can be written again."""
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return summary if is_summary(summary) else None


def is_summary(summary: Any) -> bool:
    """Whether a summary has what is shown of a run."""
    if not isinstance(summary, dict):
        return False
    texts = [summary.get(name) for name in ("dataset", "auxiliary", "status")]
    results = summary.get("results")
    if not isinstance(results, dict) or not all(isinstance(measured, dict) for measured in results.values()):
        return False
    numbers = [summary.get("seconds", 0), *(value for measured in results.values() for value in measured.values())]
    return (
        all(isinstance(text, str) and is_plain_text(text) for text in [*texts, *results])
        and all(is_integer(number) or isinstance(number, float) for number in numbers)
        and all(abs(number) < LARGEST_SHOWN for number in numbers)
        and is_integer(summary.get("steps"))
    )
