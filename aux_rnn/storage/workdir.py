"""The folder of one run: its lock, `config.json`, `summary.json` and `plots/`."""

import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any, TextIO

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import INTERVALS, NOT_COMPARED, diff_configs, from_json, to_json
from aux_rnn.config.settings import Config
from aux_rnn.errors import OneLineError

REPORT = "report.html"
RECONSTRUCTIONS = "reconstructions-{}.png"


class WorkdirError(OneLineError):
    """The folder cannot be used. The text names it and the remedy, in one line.

    Examples:
      >>> lock(Path("/dev/null/run"))
      Traceback (most recent call last):
      aux_rnn.storage.workdir.WorkdirError: workdir=/dev/null/run: cannot be written (Not a directory); ...
    """


class InUseError(WorkdirError):
    """Another process is using the folder."""


class StorageError(OneLineError):
    """Results cannot be written. The text says where and why, in one line.

    Examples:
      >>> raise StorageError("workdir=gs://bucket/run: cannot be written (403 Forbidden)")
      Traceback (most recent call last):
      aux_rnn.storage.workdir.StorageError: workdir=gs://bucket/run: cannot be written (403 Forbidden)
    """


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file such that a reader, or a run after a crash, sees either the old content or the new one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def finite(value: Any) -> Any:
    """Replaces non-finite numbers, which JSON lacks, by None, in nested dictionaries too."""
    if isinstance(value, dict):
        return {name: finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lock(path: Path) -> TextIO:
    """Creates the folder if it is missing, and locks it until the returned file is closed or the process ends.

    Raises InUseError if another run is using the folder, and WorkdirError if it cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = (path / ".lock").open("w")
    except OSError as error:
        raise unwritable_error(path, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise InUseError(f"workdir={path}: another run is using it; wait for it or choose another") from error
        raise WorkdirError(f"workdir={path}: cannot be locked ({error.strerror}); choose another folder") from error
    return file


def require_same_config(path: Path, config: Config, extends: bool = False) -> Config | None:
    """Returns the configuration of the run in a folder, or None if there is no run.

    Raises WorkdirError if the run has other settings, or there are checkpoints of unknown settings. The intervals of
    records and checkpoints may differ, and with `extends` there may be more epochs of joint training.
    """
    previous = read_config(path)
    if previous is None and any((path / "checkpoints").glob("*")):
        raise WorkdirError(f"workdir={path}: has checkpoints but no config.json; restore it, or choose another")
    if previous is None:
        return None
    has_more = has_more_epochs(previous, config)
    ignored = (*NOT_COMPARED, *INTERVALS, *(["train_epochs"] if extends and has_more else []))
    if changes := diff_configs(previous, config, ignored):
        remedy = ", or add extend=True to continue with more epochs" if has_more and not extends else ""
        raise WorkdirError(
            f"workdir={path}: holds a run with other settings ({changes}); "
            f"choose another folder, or give the old settings{remedy}"
        )
    return previous


def has_more_epochs(previous: Config | None, config: Config) -> bool:
    """Returns whether there is a previous configuration of the run, by which it would train for fewer epochs."""
    return previous is not None and config.run.train_epochs > previous.run.train_epochs


def unwritable_error(path: Path, error: OSError) -> WorkdirError:
    """Returns the error for a folder that cannot be written."""
    return WorkdirError(f"workdir={path}: cannot be written ({error.strerror}); make room or choose another folder")


def write_config(path: Path, config: Config) -> None:
    """Writes `config.json`; a run that is extended is no longer complete."""
    previous = read_config(path)
    if has_more_epochs(previous, config) and (summary := read_summary(path)):
        write_summary(path, {**summary, "status": "interrupted"})
    write_atomically(path / "config.json", to_json(config))


def read_config(path: Path) -> Config | None:
    """Returns the configuration of the run in a folder, or None if there is none. Raises WorkdirError."""
    file = path / "config.json"
    try:
        return from_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ConfigError) as error:
        raise WorkdirError(f"{file}: not a configuration of this version ({error}); choose another workdir") from error


def require_config(path: Path) -> Config:
    """Returns the configuration of the run in a folder. Raises WorkdirError if there is none."""
    config = read_config(path)
    if config is None:
        raise WorkdirError(f"{path}: holds no run; train one first, or name another folder")
    return config


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Writes `summary.json`, with null for numbers that are not finite."""
    write_atomically(path / "summary.json", json.dumps(finite(summary), indent=2, allow_nan=False) + "\n")


def read_summary(path: Path) -> dict[str, Any] | None:
    """Returns the content of `summary.json`, or None if it is missing or damaged; the run writes it again."""
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) and {"status", "steps", "results"} <= set(summary) else None


def save_plot(path: Path, name: str, content: bytes) -> Path:
    """Writes a figure into `plots/` and returns the path of its file. Raises OSError."""
    file = path / "plots" / name
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, content)
    return file


def save_reconstructions(path: Path, step: int, content: bytes) -> Path:
    """Writes the figure of the decoder outputs after a step. Raises OSError."""
    return save_plot(path, RECONSTRUCTIONS.format(step), content)


def find_reconstructions(path: Path) -> dict[int, Path]:
    """Returns the figures of decoder outputs by step, in the order of the steps."""
    found = {file.stem.rpartition("-")[2]: file for file in (path / "plots").glob(RECONSTRUCTIONS.format("*"))}
    return {int(step): found[step] for step in sorted(filter(str.isdigit, found), key=int)}
