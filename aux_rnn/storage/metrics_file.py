"""Writes and reads `metrics.jsonl`: one record per line as JSON, in the order of the steps, without gaps."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from aux_rnn.config.fields import is_integer
from aux_rnn.storage.workdir import WorkdirError, finite, write_atomically

Record = dict[str, Any]


class Curve(NamedTuple):
    """The values of one metric on one split, with the epoch of each; NaN where the value was not finite."""

    epochs: list[float]
    values: list[float]


class MetricsFile:
    """Appends records to a file, after truncating it to the `count` records that a checkpoint covers.

    Raises WorkdirError if the file is damaged or lacks records; it is left as it is.
    """

    def __init__(self, path: Path, count: int = 0) -> None:
        try:
            lines = read_lines(path)[:count]
        except (OSError, ValueError) as error:
            raise WorkdirError(f"{path}: cannot be continued ({error}); move it away") from error
        if len(lines) < count:
            raise WorkdirError(
                f"{path}: has {len(lines)} records, and the checkpoint was saved after {count}; "
                "restore it from a copy, or start again with another workdir"
            )
        write_atomically(path, "".join(f"{line}\n" for line in lines))
        self._file = path.open("a", encoding="utf-8")
        self.count = count

    def write(self, kind: str, step: int, values: dict[str, Any]) -> dict[str, Any]:
        """Appends `{"kind": kind, "step": step, **values}` and returns it. Non-finite values become null."""
        record = finite({"kind": kind, "step": step, **values})
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self.count += 1
        return record

    def sync(self) -> None:
        """Forces all records to disk; must be called before a checkpoint that covers them is written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> list[str]:
    """Returns the complete lines of the file, none if it does not exist. A crash may have cut off the last line.

    Raises OSError or ValueError if the file cannot be read, or holds anything but objects in the order of their steps.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    latest = 0
    for number, line in enumerate(lines, start=1):
        try:
            step = json.loads(line)["step"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"line {number} is damaged: {error}") from error
        if not is_integer(step) or step < latest:
            raise ValueError(f"line {number} is damaged: step {step!r} after {latest}")
        latest = step
    return lines


def read_records(path: Path) -> list[Record]:
    """Returns the records of the run in a folder. Raises WorkdirError if there are none, or they cannot be read."""
    file = path / "metrics.jsonl"
    try:
        records = [json.loads(line) for line in read_lines(file)]
        for record in records:
            _ = record["kind"], record["phase"], float(record["epoch"]), int(record["step"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkdirError(f"{file}: cannot be read ({error}); restore it from a copy") from error
    if not records:
        raise WorkdirError(f"workdir={path}: has no records; train first, or name another folder")
    return records


def curve_of(records: Iterable[Record], split: str, name: str) -> Curve:
    """Returns the values of `name` ('accuracy', 'supervised_loss', ...) on a split ('train', 'validation', 'test')."""
    found = [(record["epoch"], record[name]) for record in records if record["kind"] == split and name in record]
    return Curve([epoch for epoch, _ in found], [math.nan if value is None else value for _, value in found])
