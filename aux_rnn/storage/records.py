"""Curves of the records of a run."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from aux_rnn.storage.metrics_file import read_lines
from aux_rnn.storage.workdir import WorkdirError

Record = dict[str, Any]


class Curve(NamedTuple):
    """The values of one metric on one split, with the epoch of each; NaN where the value was not finite."""

    epochs: list[float]
    values: list[float]


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
        raise WorkdirError(f"--workdir={path}: has no records; train first, or name another folder")
    return records


def curve_of(records: Iterable[Record], split: str, name: str) -> Curve:
    """Returns the values of `name` ('accuracy', 'supervised_loss', ...) on a split ('train', 'validation', 'test')."""
    found = [(record["epoch"], record[name]) for record in records if record["kind"] == split and name in record]
    return Curve([epoch for epoch, _ in found], [math.nan if value is None else value for _, value in found])


def end_of_pretraining(records: Iterable[Record]) -> float:
    """Returns the epoch at which pretraining ends, or that it has reached; 0 without pretraining."""
    return max((record["epoch"] for record in records if record["phase"] == "pretrain"), default=0.0)
