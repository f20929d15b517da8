"""Records of complete runs: one JSON line per run, with everything that reports show."""

import datetime
import fcntl
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aux_rnn.config.settings import Config
from aux_rnn.datasets import sequence_spec
from aux_rnn.errors import OneLineError
from aux_rnn.model.flops import count_training_step
from aux_rnn.storage.metrics_file import read_lines
from reproduction.grid import GridRun, digest_of, flatten, key_of

Record = dict[str, Any]

COMMITS = "commits.txt"  # in the folder of a run: the commit of each command that trained it
GAINS = ("reconstruct_memory_gain", "predict_memory_gain")


class RecordError(OneLineError):
    """Records cannot be used. The text names the file, the line and the remedy."""


def make_record(experiment: str, preset: str, run: GridRun, workdir: Path) -> Record:
    """Returns the record of the complete run in a folder. Raises RecordError if its files cannot be read."""
    file, commits = workdir / "summary.json", workdir / COMMITS
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
        finished = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC)
        names = ("data", "model", "truncation", "seed", "digest", "length", "settings")
        return {
            **summary,
            "experiment": experiment,
            "preset": preset,
            **{name: getattr(run, name) for name in names},
            "config": flatten(run.config),
            "history": read_history(workdir / "metrics.jsonl", run.config),
            "machine": {**summary["machine"], "devices": summary["devices"]},
            "commit": ", ".join(dict.fromkeys(commits.read_text().splitlines())) if commits.exists() else "unknown",
            "date": finished.isoformat(timespec="seconds"),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{workdir}: the complete run cannot be read ({error!r}); move it away") from error


def read_history(metrics: Path, config: Config) -> list[dict[str, Any]]:
    """Returns the metrics of every evaluation: `epoch`, `phase`, `seconds`, and values such as `validation_accuracy`.

    Training metrics are those of the last record since the previous evaluation, means over the steps up to it;
    `teraflop` is the cost of all training steps before it. Both phases end with an evaluation.
    """
    spec = sequence_spec(config.data)
    history: dict[int, dict[str, Any]] = {}
    training: dict[str, Any] = {}
    latest, teraflop = 0, 0.0
    for record in map(json.loads, read_lines(metrics)):
        kind, step = record["kind"], record["step"]
        values = {f"{kind}_{k}": v for k, v in record.items() if "loss" in k or k == "accuracy" or k in GAINS}
        if kind == "train":
            training = values
            continue
        if step not in history:
            teraflop += 2e-12 * count_training_step(config, spec, record["phase"]) * (step - latest)
            entry = {name: record[name] for name in ("step", "epoch", "phase", "seconds")}
            history[step] = {**entry, "teraflop": teraflop, **training}
            latest, training = step, {}
        history[step].update(values)
    return list(history.values())


def append_line(file: Path, line: str) -> None:
    """Appends to a file, to which other commands may append at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(line + "\n")


def read_records(folder: Path, experiment: str, preset: str, grid: Sequence[GridRun]) -> dict[str, Record]:
    """Returns what reports show of the newest record of each run, by digest; the grid may have fewer seeds.

    Raises RecordError if a line is damaged, belongs to another experiment or has settings that the grid lacks.
    """
    known = {key_of(run.settings): {**flatten(run.config), "experiment": experiment} for run in grid}
    records: dict[str, Record] = {}
    for file in sorted([*folder.glob(f"{preset}.jsonl"), *folder.glob(f"{preset}.shard-*.jsonl")]):
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            try:
                record = json.loads(line)
                shown, expected = show(record), known[key_of(record["settings"])]
                values = {**record["config"], "experiment": record["experiment"]}
                changed = [k for k, v in values.items() if k != "seed" and expected.get(k, v) != v]
                if changed:
                    raise ValueError(f"other values of {', '.join(changed)}")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                reason = f"no record of {experiment} with the present settings of preset {preset} ({error!r})"
                remedy = "move the file away, or use another --results"
                raise RecordError(f"{file}, line {number}: {reason}; {remedy}") from error
            digest = digest_of(record["settings"])
            records[digest] = max(shown, records.get(digest, shown), key=lambda each: each["date"])
    return records


def show(record: Record) -> Record:
    """Returns the values of a record that reports show; None for those that it lacks."""
    machine, cores = record["machine"], record["machine"]["cores"]
    what = f"{machine['cpu']}, {cores} core{'s' * (cores != 1)} per run, {machine['memory_gib']} GiB"
    required = ("seed", "seconds", "parameters", "commit", "date", "examples", "history")
    return {
        "key": key_of(record["settings"]),
        "test_accuracy": float(record["test_accuracy"]),
        **{name: record[name] for name in required},
        **{name: record.get(name) for name in ("validation_accuracy", "seconds_per_step", "peak_memory_mib")},
        **{name: record["results"].get("test", {}).get(name) for name in GAINS},
        "machine": f"{what}, {machine['os']}, JAX on {machine['devices']}",
    }
