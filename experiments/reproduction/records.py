"""Records: one JSON line a run, with all that reports are made of."""

import datetime
import fcntl
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aux_rnn.config import from_flat, to_flat
from aux_rnn.metric_writers import read_lines
from aux_rnn.settings import ConfigError
from aux_rnn.workdir import read_summary, write_atomically
from reproduction.cells import Cell, changed_settings, digest_of, digest_without_seed

Record = dict[str, Any]

# What a line must have, and of what type.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "experiment": str,
    "preset": str,
    "seed": int,
    "digest": str,
    "settings": dict,
    "config": dict,
    "results": dict,
    "test_accuracy": (int, float),
    "parameters": int,
    "examples": dict,
    "steps": int,
    "seconds": (int, float),
    "seconds_per_step": (int, float, type(None)),
    "peak_memory_mib": (int, float, type(None)),
    "history": list,
    "machine": dict,
    "commit": str,
    "date": str,
}
GAINS = "memory_gain"


class RecordError(Exception):
    """Records cannot be used. The text names the file, the line and the remedy, in one line."""


def make_record(experiment: str, preset: str, cell: Cell, workdir: Path, origin: dict[str, Any]) -> Record:
    """The record of a complete run.

    Args:
      experiment: its name.
      preset: its name.
      cell: what was run.
      workdir: the run's folder.
      origin: `machine` and `commit` of the run.

    Raises:
      RecordError: the run's files cannot be read.
    """
    try:
        summary = json.loads((workdir / "summary.json").read_text())
        finished = datetime.datetime.fromtimestamp((workdir / "summary.json").stat().st_mtime, datetime.UTC)
        measured = dict(summary["results"])
        gains = {k: v for k, v in measured.get("test", {}).items() if k.endswith(GAINS)}
        copied = ("steps", "seconds", "seconds_per_step", "peak_memory_mib", "jax", "params_digest")
        return {
            "experiment": experiment,
            "preset": preset,
            **dict(zip(("data", "model", "truncation"), cell.row, strict=True)),
            "seed": cell.seed,
            "digest": cell.digest,
            "length": cell.spec.length,
            "test_accuracy": summary["test_accuracy"],
            "validation_accuracy": summary["validation_accuracy"],
            **gains,
            "results": measured,
            "parameters": summary["parameters"],
            "examples": summary["examples"],
            **{name: summary.get(name) for name in copied},
            "settings": cell.settings,
            "config": {k: v for k, v in json.loads(json.dumps(to_flat(cell.config))).items() if not k.endswith("_dir")},
            "history": read_history(workdir / "metrics.jsonl"),
            "machine": {**origin["machine"], "devices": summary["devices"]},
            "commit": origin["commit"],
            "date": finished.isoformat(timespec="seconds"),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{workdir}: a complete run that cannot be read ({error!r}); move it away") from error


def read_history(metrics: Path) -> list[dict[str, Any]]:
    """One entry an evaluation: `epoch`, `phase`, and all values as `validation_accuracy`, `test_loss`, ...

    The training values are those of the last record since the evaluation before, means over the steps up to it; none if
    there was no record.
    """
    history: dict[int, dict[str, Any]] = {}
    training: dict[str, Any] = {}
    for line in read_lines(metrics):
        record = json.loads(line)
        kind, step = record["kind"], record["step"]
        values = {f"{kind}_{k}": v for k, v in record.items() if "loss" in k or k == "accuracy" or k.endswith(GAINS)}
        if kind == "train":
            training = values
            continue
        entry = history.setdefault(step, {"step": step, "epoch": record["epoch"], "phase": record["phase"]})
        entry.update({**training, **values})
        training = {}
    return list(history.values())


def read_records(folder: Path, experiment: str, preset: str, kin: Collection[str]) -> dict[str, Record]:
    """All records of an experiment, by digest; of several of one run the newest.

    Args:
      folder: where `<preset>*.jsonl` lie.
      experiment: whose records they must be.
      preset: whose records they must be.
      kin: of the cells of the grid (`Cell.kin`), to one of which every record must belong.

    Raises:
      RecordError: a line is damaged or belongs to something else.
    """
    records: dict[str, Record] = {}
    examples: dict[str, dict[str, int]] = {}
    for file in sorted(folder.glob(f"{preset}*.jsonl")):
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            try:
                record = parse_record(line, experiment, preset, kin)
                others = examples.setdefault(digest_without_seed(record["settings"]), record["examples"])
                if record["examples"] != others:
                    raise ValueError(f"examples {record['examples']}, but {others} in another record of the same row")
            except ValueError as error:
                remedy = "move the file away, or name another --results"
                raise RecordError(f"{file}, line {number}: {error}; {remedy}") from error
            known = records.get(record["digest"])
            if known is None or record["date"] >= known["date"]:
                records[record["digest"]] = record
    return records


def parse_record(line: bytes, experiment: str, preset: str, kin: Collection[str]) -> Record:
    """Raises ValueError, with what is wrong."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"damaged ({error})") from error
    for name, kinds in FIELDS.items():
        if not isinstance(record, dict) or not isinstance(record.get(name), kinds):
            raise ValueError(f"damaged ({name!r} is missing or of the wrong type)")
    if not all(isinstance(entry, dict) and {"epoch", "phase"} <= set(entry) for entry in record["history"]):
        raise ValueError("damaged ('history' has an entry without epoch or phase)")
    if not all(isinstance(values, dict) for values in record["results"].values()):
        raise ValueError("damaged ('results' is not by split)")
    for name, wanted in (("experiment", experiment), ("preset", preset)):
        if record[name] != wanted:
            raise ValueError(f"belongs to the {name} {record[name]!r} and not to {wanted!r}")
    try:
        settings = changed_settings(from_flat(record["config"]))
    except ConfigError as error:
        raise ValueError(f"settings of another version ({error})") from error
    if settings != record["settings"] or digest_of(settings) != record["digest"]:
        raise ValueError("settings and digest do not belong together, or defaults have changed since")
    if digest_without_seed(settings) not in kin:
        raise ValueError("its settings belong to no cell of the present grid")
    return record


def put_record(file: Path, record: Record) -> None:
    """Adds a record to a file, in place of an older one of the same run; other commands may do so at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with locked(file.parent):
        lines = file.read_text().splitlines() if file.exists() else []
        kept = [line for line in lines if json.loads(line)["digest"] != record["digest"]]
        write_atomically(file, "".join(f"{line}\n" for line in [*kept, json.dumps(record, allow_nan=False)]))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds a lock on a folder, which leaves nothing behind."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_complete(workdir: Path) -> bool:
    return (read_summary(workdir) or {}).get("status") == "complete"
