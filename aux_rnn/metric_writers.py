"""`metrics.jsonl`: one JSON object a line, in the order of the steps, without gap or duplicate whatever happened."""

import json
import math
import os
from pathlib import Path
from typing import Any

from aux_rnn.settings import is_integer
from aux_rnn.workdir import WorkdirError, unwritable, write_atomically


class MetricsFile:
    """Appends records. Opening it drops those that will come again, from after the state that the run continues from.

    Args:
      path: the file.
      step: complete steps of that state.
      is_evaluated: whether the evaluations after that step were made before the state was saved.
      count: records that there were when the state was saved.

    Attributes:
      count: records in the file.

    Raises:
      WorkdirError: the file is damaged, lacks records, or cannot be written; it is left as it is.
    """

    def __init__(self, path: Path, step: int, is_evaluated: bool = True, count: int = 0) -> None:
        def is_kept(record: dict[str, Any]) -> bool:
            return record["step"] < step or (record["step"] == step and (is_evaluated or record["kind"] == "train"))

        try:
            kept = [line for line in read_lines(path) if is_kept(json.loads(line))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkdirError(f"{path}: cannot be continued ({error}); move it away") from error
        if len(kept) < count:
            raise WorkdirError(
                f"{path}: has {len(kept)} records of the first {step} steps instead of {count}; "
                "restore it from a copy, or start again with another --workdir"
            )
        try:
            write_atomically(path, "".join(line + "\n" for line in kept))
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise unwritable(path.parent, error) from error
        self.count = len(kept)

    def write(self, kind: str, step: int, values: dict[str, Any]) -> dict[str, Any]:
        """Appends `{"kind": kind, "step": step, **values}` and returns it; a value that is not finite becomes null."""
        record = {"kind": kind, "step": step, **{name: finite(value) for name, value in values.items()}}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self.count += 1
        return record

    def sync(self) -> None:
        """Puts all records on disk; to be called before a checkpoint that covers them is written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_lines(path: Path) -> list[str]:
    """The complete lines of the file; none if it does not exist. The last line may have been cut by a crash.

    Raises:
      OSError, ValueError: the file cannot be read, or is not what was written: objects in the order of their steps.
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
