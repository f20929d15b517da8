"""Runs to compare; those that differ only in their seed form one row."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from confidence import Estimate, estimate_curve, estimate_mean

from aux_rnn.config.fields import format_value
from aux_rnn.config.serialization import NOT_COMPARED, name_model, to_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets import sequence_spec
from aux_rnn.datasets.arrays import TOKENS, is_arrays
from aux_rnn.model.metric_names import Metric, unit_of
from aux_rnn.storage.records import Record, curve_of, read_records
from aux_rnn.storage.workdir import WorkdirError, read_summary, require_config

# Settings that the name of a row shows in another form.
NAMED = ("dataset", "encoder", "auxiliary")


class SavedRun(NamedTuple):
    """The contents of a run's folder; the summary is empty for a run that has not ended."""

    config: Config
    records: list[Record]
    summary: dict[str, Any]


class Row(NamedTuple):
    """At least one run; runs that differ only in their seed, under the name that distinguishes them from others."""

    name: str
    runs: Sequence[SavedRun]

    @property
    def seeds(self) -> list[int]:
        return sorted(run.config.run.seed for run in self.runs)

    def unit(self, metric: Metric) -> str:
        """Returns the unit that a metric has in these runs."""
        config = self.runs[0].config
        return unit_of(metric, config.model.pixel_loss, has_tokens(config))

    def score(self, name: str, factor: float = 1.0) -> Estimate:
        """Returns the mean of a number of the summaries, such as 'test_accuracy', times a factor."""
        return estimate_mean([factor * run.summary[name] for run in self.runs if run.summary.get(name) is not None])

    def curve(self, split: str, name: str) -> dict[float, Estimate]:
        """Returns the mean over the runs of a metric on a split, by epoch; see `curve_of`."""
        curves = [curve_of(run.records, split, name) for run in self.runs]
        return estimate_curve(point for curve in curves for point in zip(*curve, strict=True))


def has_tokens(config: Config) -> bool:
    """Returns whether sequences consist of tokens instead of real values."""
    name = config.data.dataset
    if is_arrays(name):
        return name.startswith(TOKENS)
    # Data sets of tfds are images; their folder need not exist on this machine.
    return not name.startswith("tfds:") and sequence_spec(config.data).vocabulary_size > 0


def read_run(folder: str) -> SavedRun:
    """Raises WorkdirError if there is no run in the folder, or no records."""
    path = Path(os.path.expanduser(folder))
    return SavedRun(require_config(path), read_records(path), read_summary(path) or {})


def group_runs(runs: Sequence[SavedRun]) -> list[Row]:
    """Returns one row per set of settings, in the order of the runs. Raises WorkdirError if a seed occurs twice."""
    groups: dict[tuple, list[SavedRun]] = {}
    for run in runs:
        settings = {k: v for k, v in to_flat(run.config).items() if k not in (*NOT_COMPARED, "seed")}
        groups.setdefault(tuple(settings.items()), []).append(run)
    all_settings = [dict(key) for key in groups]
    differing = [name for name in all_settings[0] if len({repr(each[name]) for each in all_settings}) > 1]
    rows = [Row(name_row(group[0].config, differing), group) for group in groups.values()]
    for row in rows:
        if twice := {seed for seed in row.seeds if row.seeds.count(seed) > 1}:
            raise WorkdirError(f"RUN: {row.name} with seed {min(twice)} is given twice; name each run once")
    return rows


def name_row(config: Config, differing: Sequence[str]) -> str:
    """Returns 'r-LSTM on digits, hidden_size=64': model, data set, and the settings that differ between rows."""
    flat = to_flat(config)
    omitted = NAMED if config.model.auxiliaries else (*NAMED, "pretrain_epochs")  # an LSTM has no pretraining
    others = [f"{name}={format_value(flat[name])}" for name in differing if name not in omitted]
    return ", ".join([f"{name_model(config)} on {config.data.dataset}", *others])
