"""Records of complete runs: one JSON line per run, with everything that reports show."""

import datetime
import fcntl
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from machine import code_version

from aux_rnn.errors import OneLineError
from aux_rnn.storage.metrics_file import read_lines
from reproduction.grid import GridRun, digest_of, flatten, key_of

Record = dict[str, Any]

COMMITS = "commits.txt"  # in the folder of a run: the commit of each command that trained it
GAIN = "memory_gain"


class RecordError(OneLineError):
    """Records cannot be used. The text names the file, the line and the remedy."""


def make_record(experiment: str, preset: str, run: GridRun, workdir: Path) -> Record:
    """Returns the record of the complete run in a folder. Raises RecordError if its files cannot be read."""
    try:
        summary = json.loads((workdir / "summary.json").read_text(encoding="utf-8"))
        finished = datetime.datetime.fromtimestamp((workdir / "summary.json").stat().st_mtime, datetime.UTC)
        commits = (workdir / COMMITS).read_text().splitlines() if (workdir / COMMITS).exists() else ["unknown"]
        return {
            **summary,
            **{"experiment": experiment, "preset": preset, "data": run.data, "model": run.model},
            **{"truncation": run.truncation, "seed": run.seed, "digest": run.digest, "length": run.length},
            **{"settings": run.settings, "config": flatten(run.config)},
            "history": read_history(workdir / "metrics.jsonl"),
            "machine": {**summary["machine"], "devices": summary["devices"]},
            "commit": ", ".join(dict.fromkeys(commits)),
            "date": finished.isoformat(timespec="seconds"),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{workdir}: the complete run cannot be read ({error!r}); move it away") from error


def read_history(metrics: Path) -> list[dict[str, Any]]:
    """Returns the metrics of every evaluation: `epoch`, `phase`, and values such as `validation_accuracy`.

    Training metrics are those of the last record since the previous evaluation, means over the steps up to it.
    """
    history: dict[int, dict[str, Any]] = {}
    training: dict[str, Any] = {}
    for record in map(json.loads, read_lines(metrics)):
        kind, step = record["kind"], record["step"]
        values = {f"{kind}_{k}": v for k, v in record.items() if "loss" in k or k == "accuracy" or k.endswith(GAIN)}
        if kind == "train":
            training = values
            continue
        entry = history.setdefault(step, {"step": step, "epoch": record["epoch"], "phase": record["phase"]})
        entry.update({**training, **values})
        training = {}
    return list(history.values())


def add_commit(workdir: Path) -> None:
    """Notes the present commit in the folder of a run that was trained."""
    append_line(workdir / COMMITS, code_version())


def append_line(file: Path, line: str) -> None:
    """Appends to a file, to which other commands may append at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(line + "\n")


def read_records(folder: Path, experiment: str, preset: str, grid: Sequence[GridRun]) -> dict[str, Record]:
    """Returns the newest record of each run of a grid, and of further seeds, by digest.

    Args:
      folder: with `<preset>.jsonl` and the files of shards.
      experiment: of the records.
      preset: of the records.
      grid: of the experiment.

    Raises:
      RecordError: a line is damaged, belongs to another experiment or has settings that the grid lacks.
    """
    configs = {run.key: flatten(run.config) for run in grid}
    records: dict[str, Record] = {}
    examples: dict[str, dict[str, int]] = {}
    for file in sorted([*folder.glob(f"{preset}.jsonl"), *folder.glob(f"{preset}.shard-*.jsonl")]):
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            try:
                record = json.loads(line)
                problem = find_problem(record, dict(experiment=experiment, preset=preset), configs)
                if not problem and record["examples"] != examples.setdefault(shown(record)["key"], record["examples"]):
                    problem = "has other examples than another record of the same row"
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                problem = f"damaged ({type(error).__name__}: {error})"
            if problem:
                raise RecordError(f"{file}, line {number}: {problem}; move the file away, or use another --results")
            known = records.get(record["digest"])
            if known is None or record["date"] >= known["date"]:
                records[record["digest"]] = record
    return records


def find_problem(record: Record, expected: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns why a record does not belong to a grid with these configurations, by key; empty if it does."""
    for name, wanted in expected.items():
        if record[name] != wanted:
            return f"belongs to the {name} {record[name]!r} and not to {wanted!r}"
    if digest_of(record["settings"]) != record["digest"]:
        return "settings and digest do not match"
    config = configs.get(key_of(record["settings"]))
    if config is None:
        return "its settings are not in the present grid"
    changed = [k for k, v in record["config"].items() if k != "seed" and config.get(k, v) != v]
    return f"the defaults of {', '.join(changed)} have changed since" if changed else ""


def shown(record: Record) -> dict[str, Any]:
    """Returns the values of a record that reports show; accuracies in percent."""
    machine, cores, validation = record["machine"], record["machine"].get("cores"), record.get("validation_accuracy")
    what = f"{machine.get('cpu')}, {cores} core{'s' * (cores != 1)} per run, {machine.get('memory_gib')} GiB"
    same = ("seed", "seconds", "parameters", "commit", "date", "examples", "history")
    return {
        "key": key_of(record["settings"]),
        **{name: record[name] for name in same},
        **{name: record.get(name) for name in ("seconds_per_step", "peak_memory_mib")},
        "test_accuracy": 100 * float(record["test_accuracy"]),
        "validation_accuracy": None if validation is None else 100 * validation,
        **{name: value for name, value in record["results"].get("test", {}).items() if name.endswith(GAIN)},
        "machine": f"{what}, {machine.get('os')}, JAX on {machine.get('devices')}",
    }
