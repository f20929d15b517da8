"""Runs to be compared, and those that differ in their seed alone as one row."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reproduction.statistics import Estimate, estimate_mean

from aux_rnn.config import INCIDENTAL, Config, name_model, to_flat
from aux_rnn.run_records import Record, curve_of, read_records
from aux_rnn.settings import format_value
from aux_rnn.workdir import WorkdirError, read_summary, require_config

# Settings that the name of a row is made of anyway.
NAMED = ("dataset", "encoder", "auxiliary")


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What lies in a run's folder; the summary is empty for one that has not ended."""

    config: Config
    records: list[Record]
    summary: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone.

    Attributes:
      name: what sets it apart from the other rows.
      runs: at least one.
    """

    name: str
    runs: Sequence[FinishedRun]

    @property
    def seeds(self) -> list[int]:
        return sorted(run.config.run.seed for run in self.runs)

    def score(self, name: str) -> Estimate | None:
        """Mean and interval of a number of the summaries, such as 'test_accuracy'; None where no run has it."""
        values = [run.summary[name] for run in self.runs if run.summary.get(name) is not None]
        return estimate_mean(values) if values else None

    def curve(self, split: str, name: str) -> dict[float, Estimate]:
        """Mean and interval over the runs by epoch; see `curve_of`."""
        values: dict[float, list[float]] = {}
        for run in self.runs:
            for epoch, value in zip(*curve_of(run.records, split, name), strict=True):
                values.setdefault(round(epoch, 6), []).append(value)
        return {epoch: estimate_mean(values[epoch]) for epoch in sorted(values)}


def read_run(folder: str) -> FinishedRun:
    """Raises WorkdirError if there is no run in the folder, or none with records."""
    path = Path(os.path.expanduser(folder))
    return FinishedRun(require_config(path), read_records(path), read_summary(path) or {})


def group_runs(runs: Sequence[FinishedRun]) -> list[Row]:
    """One row for each set of settings, in the order in which they come up. Raises WorkdirError for a seed twice."""
    groups: dict[tuple, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(tuple(identify(run.config).items()), []).append(run)
    settings = [dict(key) for key in groups]
    differing = [name for name in settings[0] if len({repr(each[name]) for each in settings}) > 1]
    rows = [Row(name_row(group[0].config, differing), group) for group in groups.values()]
    for row in rows:
        if twice := {seed for seed in row.seeds if row.seeds.count(seed) > 1}:
            raise WorkdirError(f"RUN: {row.name} with seed {min(twice)} is given twice; name each run once")
    return rows


def identify(config: Config) -> dict[str, Any]:
    """All settings but the seed and what is incidental."""
    return {name: value for name, value in to_flat(config).items() if name not in (*INCIDENTAL, "seed")}


def name_row(config: Config, differing: Sequence[str]) -> str:
    """'r-LSTM on digits, hidden_size=64': the model, the data, and what sets it apart from the other rows."""
    flat = to_flat(config)
    unsaid = NAMED if config.model.auxiliaries else (*NAMED, "pretrain_epochs")  # an LSTM has no pretraining
    others = [f"{name}={format_value(flat[name])}" for name in differing if name not in unsaid]
    return ", ".join([f"{name_model(config)} on {config.data.dataset}", *others])
