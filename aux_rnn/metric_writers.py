"""`metrics.jsonl`: one JSON object a line, in the order of the steps, without gap or duplicate whatever happened."""

import json
import math
import os
from pathlib import Path
from typing import Any

from aux_rnn.workdir import WorkdirError, write_atomically


class MetricsFile:
    """Appends records. Opening it drops what was written after the step the run continues from, as it will come again.

    Args:
      path: the file.
      step: complete steps of the state that the run continues from.
      is_evaluated: whether the evaluations after that step were made before the state was saved.

    Raises:
      WorkdirError: the file is damaged; it is left as it is.
    """

    def __init__(self, path: Path, step: int, is_evaluated: bool = True) -> None:
        def is_kept(record: dict[str, Any]) -> bool:
            return record["step"] < step or (record["step"] == step and (is_evaluated or record["kind"] == "train"))

        try:
            kept = [line for line in read_lines(path) if is_kept(json.loads(line))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WorkdirError(f"{path}: cannot be continued ({error}); move it away") from error
        write_atomically(path, "".join(line + "\n" for line in kept))
        self._file = path.open("a")

    def write(self, kind: str, step: int, values: dict[str, Any]) -> None:
        """Appends `{"kind": kind, "step": step, **values}`; a value that is not finite is written as null."""
        record = {"kind": kind, "step": step, **{name: finite(value) for name, value in values.items()}}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()

    def sync(self) -> None:
        """Puts all records on disk; to be called before a checkpoint that covers them is written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_lines(path: Path) -> list[str]:
    """The complete lines of the file; none if it does not exist. The last line may have been cut by a crash."""
    if not path.exists():
        return []
    return path.read_text().split("\n")[:-1]
