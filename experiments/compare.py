"""Compares runs: draws their curves, one line and a band for all seeds of the same settings, and prints a table.

  python experiments/compare.py runs/digits-*
  python experiments/compare.py runs/a runs/b --split=train --output=figures/a-and-b

RUN is the folder of a run. The figure is written to OUTPUT.png and OUTPUT.svg.
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from absl import flags
from command_line import parse_words
from confidence import estimate_means, format_estimate
from drawing import Style, add_legend, draw_curve, limit_percent, save_figure
from exits import BAD_INPUT, report

from aux_rnn.config.fields import ConfigError, format_value
from aux_rnn.config.serialization import NOT_COMPARED, name_model, to_flat
from aux_rnn.config.settings import Config
from aux_rnn.model.metric_names import Metric
from aux_rnn.plots.curves import label_values, panels_of
from aux_rnn.plots.style import COLORS, DASHES, MARKERS, Figure, MaxNLocator, plot_style
from aux_rnn.storage.records import Record, curve_of, read_records
from aux_rnn.storage.workdir import WorkdirError, read_summary, require_config, unwritable
from aux_rnn.system.timing import format_duration

MIN_SEEDS = 3  # for a band; that of two would hide the other curves
NAMED = ("dataset", "encoder", "auxiliary")  # settings that the name of a row shows in another form
SPLITS = {"train": "training batches", "validation": "validation split", "test": "test split"}
STYLES: list[Style] = [
    dict(color=color, linestyle=dashes, marker=marker, markersize=3.5)
    for color, dashes, marker in zip(COLORS, DASHES, MARKERS, strict=True)
]

FLAGS = flags.FlagValues()  # not absl's own, as there are other settings here
flags.DEFINE_enum("split", "validation", list(SPLITS), "Whose losses and accuracy are drawn.", flag_values=FLAGS)
flags.DEFINE_string("output", "comparison", "File of the figure, without an ending.", flag_values=FLAGS)
flags.DEFINE_boolean("help", False, "Show this help.", flag_values=FLAGS)


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

    def curve(self, split: str, name: str) -> pd.DataFrame:
        """Returns `mean` and `half` of a metric on a split by epoch; NaN where a run has no finite value."""
        curves = [curve_of(run.records, split, name) for run in self.runs]
        points = pd.concat(pd.Series(curve.values, [round(e, 6) for e in curve.epochs], float) for curve in curves)
        groups = points.groupby(level=0)
        curve = estimate_means(groups)
        curve.loc[groups.count() < groups.size()] = math.nan
        return curve


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
    differing = [pairs[0][0] for pairs in zip(*groups, strict=True) if len(set(map(repr, pairs))) > 1]
    rows = [Row(name_row(group[0].config, differing), group) for group in groups.values()]
    for row in rows:
        if len(set(row.seeds)) < len(row.seeds):
            raise WorkdirError(f"RUN: {row.name} with seeds {row.seeds}: give each seed once")
    return rows


def name_row(config: Config, differing: Sequence[str]) -> str:
    """Returns 'r-LSTM on digits, hidden_size=64': model, data set, and the settings that differ between rows."""
    flat = to_flat(config)
    omitted = NAMED if config.model.auxiliaries else (*NAMED, "pretrain_epochs")  # an LSTM has no pretraining
    others = [f"{name}={format_value(flat[name])}" for name in differing if name not in omitted]
    return ", ".join([f"{name_model(config)} on {config.data.dataset}", *others])


def draw_comparison(rows: Sequence[Row], split: str) -> Figure:
    """Draws one panel per metric and unit.

    Args:
      rows: at most six, as many as can be distinguished.
      split: 'train', 'validation' or 'test'; the gradient norm is always that of the training batches.
    """
    panels: dict[Metric, list[tuple[Row, Style]]] = {}
    for row, style in zip(rows, STYLES, strict=False):
        for panel in panels_of(row.runs[0].config):
            panels.setdefault(panel, []).append((row, style))
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(8.4, 0.7 + 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    for axis, (panel, members) in zip(axes, panels.items(), strict=False):
        label_values(axis, panel)
        for row, style in members:
            curve = row.curve("train" if panel.name == "gradient_norm" else split, panel.name)
            draw_curve(axis, curve, style, panel.factor, has_band=len(row.runs) >= MIN_SEEDS)
        axis.set_xlabel("epoch, including pretraining")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(color="0.88")
        if panel.name == "accuracy":
            limit_percent(axis)
    for axis in axes[len(panels) :]:
        axis.remove()
    caption = f"{SPLITS[split]}; mean over seeds; bands: 95 % interval, from {MIN_SEEDS} seeds on"
    add_legend(figure, dict(zip([row.name for row in rows], STYLES, strict=False)), caption, columns=1)
    return figure


def format_rows(rows: Sequence[Row]) -> str:
    """Returns a table of means with their 95 % intervals, one line per row."""
    names = ("test_accuracy", "validation_accuracy", "seconds")
    scores = [[n, *(run.summary.get(k) for k in names)] for n, row in enumerate(rows) for run in row.runs]
    groups = pd.DataFrame(scores, columns=["row", *names]).astype(float).groupby("row")
    table = pd.DataFrame({"seeds": groups.size()})
    for name in names[:2]:
        pairs = 100 * estimate_means(groups[name])
        table[f"{name.replace('_', ' ')}, %"] = [format_estimate(*pair) for pair in pairs.to_numpy()]
    times = groups["seconds"].mean()
    table["time per run"] = ["-" if math.isnan(time) else format_duration(time) for time in times]
    table.index = pd.Index([row.name for row in rows])
    note = "\n±: 95 % interval of the mean over seeds" * any(len(row.runs) > 1 for row in rows)
    return table.to_string() + note


def compare(folders: Sequence[str], split: str, output: Path) -> str:
    """Draws the figure and returns the table. Raises ConfigError and WorkdirError."""
    if not folders:
        raise ConfigError("RUN: none given; name the folders of one or more runs")
    rows = group_runs([read_run(folder) for folder in folders])
    if len(rows) > len(STYLES):
        raise ConfigError(f"RUN: {len(rows)} sets of settings; at most {len(STYLES)} can be told apart in one figure")
    with plot_style("comparison"):
        try:
            save_figure(output, draw_comparison(rows, split))
        except OSError as error:
            raise unwritable(output.parent, error) from error
    return f"{format_rows(rows)}\n{output}.png, {output}.svg"


def main(argv: Sequence[str]) -> int:
    try:
        folders = parse_words(argv, FLAGS)
        if FLAGS.help:
            print(f"{__doc__}\n{FLAGS.main_module_help()}")
            return 0
        print(compare(folders, FLAGS.split, Path(os.path.expanduser(FLAGS.output))))
    except (ConfigError, WorkdirError) as error:
        return report(error, BAD_INPUT)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
