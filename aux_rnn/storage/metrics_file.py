"""Writes and reads `metrics.jsonl`: one JSON object per line, in the order of the steps, without gaps or duplicates."""

import json
import os
from pathlib import Path
from typing import Any

from aux_rnn.config.fields import is_integer
from aux_rnn.storage.workdir import WorkdirError, finite, write_atomically


class MetricsFile:
    """Appends records to a file, after truncating it to the `count` records that a checkpoint covers.

    Raises:
      WorkdirError: the file is damaged or lacks records; it is left as it is.
    """

    def __init__(self, path: Path, count: int = 0) -> None:
        try:
            lines = read_lines(path)[:count]
        except (OSError, ValueError) as error:
            raise WorkdirError(f"{path}: cannot be continued ({error}); move it away") from error
        if len(lines) < count:
            raise WorkdirError(
                f"{path}: has {len(lines)} records, and the checkpoint was saved after {count}; "
                "restore it from a copy, or start again with another --workdir"
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
        """Closes the file."""
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
