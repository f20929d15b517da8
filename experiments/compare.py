"""Compares runs: draws their curves, averaged over seeds, and prints a table.

  python experiments/compare.py runs/digits-*
  python experiments/compare.py runs/a runs/b --split=train --output=figures/ab

The arguments are the folders of runs.
"""

import dataclasses
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from cli import exits
from cli.parsing import parse_options
from cli.tables import format_table
from summaries import Style, draw_curve, estimate_curve, estimate_means, finish_figure, format_estimate, save_figure

from aux_rnn.config.fields import ConfigError, format_value, one_of, plain_text, setting, setting_error
from aux_rnn.config.serialization import NOT_COMPARED, name_model, to_flat
from aux_rnn.config.settings import Config
from aux_rnn.plots.curves import label_values, panels_of
from aux_rnn.plots.style import COLORS, DASHES, MARKERS, Figure, plot_style
from aux_rnn.storage.metrics_file import curve_of, read_records
from aux_rnn.storage.workdir import WorkdirError, read_summary, require_config
from aux_rnn.system.timing import format_duration

MIN_SEEDS = 3  # for a band; that of two would hide the other curves
SCORES = ["test_accuracy", "validation_accuracy", "seconds"]
NAMED = ("dataset", "encoder", "auxiliary")  # settings that the name of a row shows in another form
SPLITS = {"train": "training batches", "validation": "validation split", "test": "test split"}
STYLES: list[Style] = [
    dict(color=color, linestyle=dashes, marker=marker, markersize=3.5)
    for color, dashes, marker in zip(COLORS, DASHES, MARKERS, strict=True)
]


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags."""

    split: str = setting("validation", f"Whose curves are drawn: {', '.join(SPLITS)}.", one_of(SPLITS))
    output: str = setting("comparison", "The figure is written to OUTPUT.png and OUTPUT.svg.", plain_text())


def read_runs(folders: Sequence[str]) -> pd.DataFrame:
    """Returns one line per run: `row` (see `name_row`), `config`, `seed`, `records`, and scores if it has ended.

    Raises WorkdirError if a folder holds no run or no records, or if a row has a seed twice.
    """
    paths = [Path(os.path.expanduser(folder)) for folder in folders]
    configs = [require_config(path) for path in paths]
    runs = pd.DataFrame([read_summary(path) or {} for path in paths], columns=SCORES, dtype=float)
    runs = runs.assign(config=configs, records=list(map(read_records, paths)))
    settings = pd.DataFrame(map(to_flat, configs)).drop(columns=list(NOT_COMPARED)).map(format_value)
    runs["seed"] = settings.pop("seed")
    differing = settings.loc[:, settings.nunique() > 1]
    runs["row"] = list(map(name_row, configs, differing.to_dict("records")))
    for row, group in runs.groupby("row"):
        if group["seed"].duplicated().any():
            raise WorkdirError(f"RUN: {row} with seeds {', '.join(group['seed'])}: give each seed once")
    return runs


def name_row(config: Config, values: Mapping[Any, str]) -> str:
    """Returns 'r-LSTM on digits, hidden_size=64': model, data set, and the settings that differ between rows."""
    omitted = NAMED if config.model.auxiliaries else (*NAMED, "pretrain_epochs")  # an LSTM has no pretraining
    others = [f"{name}={value}" for name, value in values.items() if name not in omitted]
    return ", ".join([f"{name_model(config)} on {config.data.dataset}", *others])


def mean_curve(runs: pd.DataFrame, split: str, name: str) -> pd.DataFrame:
    """Returns `mean` and `half` of a metric on a split by epoch; NaN where a run has no finite value."""
    curves = [curve_of(records, split, name) for records in runs["records"]]
    return estimate_curve(pd.Series(curve.values, curve.epochs, float) for curve in curves)


def draw_comparison(runs: pd.DataFrame, split: str) -> Figure:
    """Draws one panel per metric and unit; the gradient norm is always that of the training batches."""
    styles = dict(zip(runs["row"].unique(), STYLES, strict=False))
    panels = list(dict.fromkeys(panel for config in runs["config"] for panel in panels_of(config)))
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(8.4, 0.7 + 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        label_values(axis, panel.label, panel.scale)
        has_panel = [panel in panels_of(config) for config in runs["config"]]
        for row, group in runs[has_panel].groupby("row", sort=False):
            curve = mean_curve(group, "train" if panel.name == "gradient_norm" else split, panel.name)
            draw_curve(axis, panel.factor * curve, styles[row], has_band=len(group) >= MIN_SEEDS)
        axis.set_xlabel("epoch, including pretraining")
    for axis in axes[len(panels) :]:
        axis.remove()
    caption = f"{SPLITS[split]}; mean over seeds; bands: 95 % interval, from {MIN_SEEDS} seeds on"
    finish_figure(figure, styles, caption, columns=1)
    return figure


def format_rows(runs: pd.DataFrame) -> str:
    """Returns a table of means with their 95 % intervals, one line per row."""
    groups = runs.groupby("row", sort=False)
    table = groups.size().rename_axis("run").reset_index(name="seeds").astype(str)
    for name in SCORES[:2]:
        pairs = 100 * estimate_means(groups[name])
        table[f"{name.replace('_', ' ')}, %"] = [format_estimate(*pair) for pair in pairs.to_numpy()]
    table["time"] = ["-" if math.isnan(time) else format_duration(time) for time in groups["seconds"].mean()]
    note = "\n±: 95 % interval of the mean over seeds" * bool(groups.size().max() > 1)
    return format_table(table) + note


def compare(argv: Sequence[str]) -> int:
    """Draws the figure and prints the table. Raises ConfigError and WorkdirError."""
    folders, given = parse_options(argv, __doc__, dataclasses.fields(Options))
    if not folders:
        raise ConfigError("RUN: none given; name the folders of one or more runs")
    runs = read_runs(folders)
    if (rows := runs["row"].nunique()) > len(STYLES):
        raise ConfigError(f"RUN: {rows} sets of settings; one figure can show at most {len(STYLES)}")
    output = Path(os.path.expanduser(given.output))
    with plot_style("comparison"):
        try:
            save_figure(output, draw_comparison(runs, given.split))
        except OSError as error:
            raise setting_error("output", given.output, f"a file that can be written ({error.strerror})") from error
    print(f"{format_rows(runs)}\n{output}.png, {output}.svg")
    return 0


def main(argv: Sequence[str]) -> int:
    return exits.run(lambda: compare(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
