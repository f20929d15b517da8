"""Records of complete runs: one JSON line per run, with everything that reports show."""

import datetime
import fcntl
import json
from pathlib import Path
from typing import Any

import pandas as pd

from aux_rnn.config.serialization import diff_configs, from_flat, with_settings
from aux_rnn.config.settings import Config
from aux_rnn.datasets import sequence_spec
from aux_rnn.errors import OneLineError
from aux_rnn.model.flops import count_training_step
from aux_rnn.storage import metrics_file
from reproduction.grid import ROW, changed_settings, digest_of, flatten

COMMITS = "commits.txt"  # in the folder of a run: the commit of each command that trained it
GAINS = ["reconstruct_memory_gain", "predict_memory_gain"]
ACCURACIES = ["test_accuracy", "validation_accuracy"]
COSTS = ["seconds", "seconds_per_step", "peak_memory_mib"]
OTHERS = ["config", "key", "seed", "parameters", "machine", "commit", "date", "examples", "history"]


class RecordError(OneLineError):
    """Records cannot be used. The text names the file, the line and the remedy."""


def append_line(file: Path, line: str) -> None:
    """Appends to a file, to which other commands may append at the same time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(line + "\n")


def make_record(experiment: str, preset: str, run: Any) -> dict[str, Any]:
    """Returns the record of a complete run, a line of `plan_runs`. Raises the errors of damaged files."""
    file, commits = run.workdir / "summary.json", run.workdir / COMMITS
    summary = json.loads(file.read_text(encoding="utf-8"))
    return {
        **summary,
        "experiment": experiment,
        "preset": preset,
        **{name: getattr(run, name) for name in (*ROW, "seed", "length")},
        "digest": digest_of(run.config),
        "settings": changed_settings(run.config),
        "config": flatten(run.config),
        "history": make_history(run.config, metrics_file.read_records(run.workdir)),
        "machine": {**summary["machine"], "devices": summary["devices"]},
        "commit": ", ".join(dict.fromkeys(commits.read_text().splitlines())) if commits.exists() else "unknown",
        "date": datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.UTC).isoformat(timespec="seconds"),
    }


def make_history(config: Config, metrics: list[metrics_file.Record]) -> list[dict[str, Any]]:
    """Returns the metrics of every evaluation: `epoch`, `phase`, `seconds`, and values such as `validation_accuracy`.

    Training metrics are those of the last record since the previous evaluation, means over the steps up to it;
    `teraflop` is the cost of all training steps before it. Both phases end with an evaluation.
    """
    spec = sequence_spec(config.data)
    history: dict[int, dict[str, Any]] = {}
    training: dict[str, Any] = {}
    latest, teraflop = 0, 0.0
    for record in metrics:
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


def read_records(folder: Path, preset: str, grid: pd.DataFrame) -> pd.DataFrame:
    """Returns the newest record of each run: one line with what reports show, sorted by seed; accuracies in percent.

    The grid may have fewer seeds. Raises RecordError if a line is damaged, or names the settings in which it differs
    from the nearest row of the grid.
    """
    keys, records = grid["key"].unique(), []
    for file in sorted([*folder.glob(f"{preset}.jsonl"), *folder.glob(f"{preset}.shard-*.jsonl")]):
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            try:
                records.append(show_record(json.loads(line)))
                if differences := min((diff_configs(key, records[-1]["key"]) for key in keys), key=len):
                    raise ValueError(differences)
            except (ValueError, KeyError, TypeError) as error:
                reason = f"no record of {folder.name} with the present settings of preset {preset} ({error!r})"
                remedy = "move the file away, or use another --results"
                raise RecordError(f"{file}, line {number}: {reason}; {remedy}") from error
    numbers = [*ACCURACIES, *COSTS, *GAINS]
    table = pd.DataFrame(records, columns=[*OTHERS, *numbers]).astype(dict.fromkeys(numbers, float))
    table[ACCURACIES] *= 100
    return table.sort_values(["seed", "date"], kind="stable").drop_duplicates("config", keep="last")


def show_record(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a record in the form of reports; settings that are newer than the record have their defaults."""
    known = flatten(Config())
    config = from_flat({name: value for name, value in record["config"].items() if name in known})
    machine, cores = record["machine"], record["machine"]["cores"]
    text = f"{machine['cpu']}, {cores} core{'s' * (cores != 1)} per run, {machine['memory_gib']} GiB, "
    text += f"{machine['os']}, JAX on {machine['devices']}"
    return {
        "config": config,
        "key": with_settings(config, seed=0),
        "machine": text,
        "test_accuracy": float(record["test_accuracy"]),
        **{name: record[name] for name in ("seed", "seconds", "parameters", "commit", "date", "examples", "history")},
        **{name: record.get(name) for name in ("validation_accuracy", "seconds_per_step", "peak_memory_mib")},
        **{name: record["results"]["test"].get(name) for name in GAINS},
    }
