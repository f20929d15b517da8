"""The figure of each experiment: readable in grey print and with colour blindness."""

import math
from collections.abc import Callable

import pandas as pd
from summaries import CAPTION, GRID, Style, draw_curve, estimate_curve, estimate_means, finish_figure, limit_percent

from aux_rnn.plots.curves import label_values
from aux_rnn.plots.style import Axes, Figure
from reproduction.grid import WITHOUT
from reproduction.presets import MODELS

STYLES: dict[str, Style] = {
    model: dict(zip(("color", "marker", "linestyle"), MODELS[model].style, strict=True)) for model in MODELS
}
FULL_STYLE: Style = dict(marker="D", linestyle="--")  # of a model with full backpropagation
FAINT: Style = dict(linestyle="none", markersize=3.5, markeredgewidth=0, alpha=0.3)
BARS: Style = dict(linewidth=1.2, markersize=4.5, capsize=2)
ESTIMATES = "filled: mean over seeds, 95 % interval; faint: single seeds"


def name_truncation(truncation: str) -> str:
    """Returns 'truncated', 'full', '50 steps' or '1 step'."""
    return f"{truncation} step{'s' * (truncation != '1')}" if truncation.isdigit() else truncation


def name_row(model: str, truncation: str = WITHOUT) -> str:
    """Returns 'r-LSTM, truncated'; a row of `ablations` has the name of its change."""
    name = MODELS[model].name if model in MODELS else model
    return name if truncation == WITHOUT else f"{name}, {name_truncation(truncation)}"


def row_styles(frame: pd.DataFrame) -> dict[str, Style]:
    """Returns the style of each row, by its name."""
    rows = frame.drop_duplicates("name")[["name", "model", "truncation"]].to_numpy()
    return {name: STYLES[model] | (FULL_STYLE if reach == "full" else {}) for name, model, reach in rows}


def draw_accuracies(frame: pd.DataFrame) -> Figure:
    """Draws test accuracies, one panel per data set and one line per row."""
    names = list(frame["name"].unique())
    panels = frame.groupby("data", sort=False)
    figure = Figure(figsize=(1.7 + 2.2 * max(len(panels), 1.5), 0.9 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (data, panel) in zip(axes, panels, strict=True):
        means = estimate_means(panel.groupby("name")["test_accuracy"])
        for name, group in panel.groupby("name"):
            place = names.index(name)
            style = STYLES.get(group["model"].iloc[0], STYLES["r-lstm"]) | dict(linestyle="none")
            if len(group) > 1:
                axis.plot(group["test_accuracy"], [place + 0.24] * len(group), **style | FAINT)
            mean, half = means.loc[name]
            axis.errorbar(mean, place, xerr=half, **style, markersize=4.5, elinewidth=1, capsize=2)
            axis.plot(group["paper"].iloc[:1], [place], **style, mfc="white", markersize=5.5)
        axis.set(title=data, xlabel="test accuracy (%)")
        limit_percent(axis, "x")
        axis.grid(axis="x", color=GRID)
    axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    figure.supxlabel(ESTIMATES + "; hollow: the paper" * bool(frame["paper"].notna().any()), **CAPTION)
    return figure


def draw_estimates(axis: Axes, frame: pd.DataFrame, x: str, y: str, style: Style) -> None:
    """Draws the means of column `y` by column `x` with their intervals, joined by a line, and faint single seeds."""
    known = frame[frame[y].notna()]
    groups = known.groupby(x)[y]
    if groups.size().max() > 1:
        axis.plot(known[x], known[y], **style | FAINT)
    means = estimate_means(groups)
    axis.errorbar(means.index, means["mean"], means["half"], **style, **BARS)


def draw_lengths(frame: pd.DataFrame) -> Figure:
    """Draws accuracy, seconds per step and peak memory by length, on logarithmic axes."""
    figure, styles = Figure(figsize=(9.6, 3.1), layout="constrained"), row_styles(frame)
    labels = {
        "test_accuracy": "test accuracy (%)",
        "seconds_per_step": "seconds per step",
        "peak_memory_mib": "peak memory (MiB)",
    }
    for axis, (column, label) in zip(figure.subplots(1, 3), labels.items(), strict=True):
        for name, members in frame.groupby("name", sort=False):
            draw_estimates(axis, members, "length", column, styles[name])
        label_values(axis, label, "linear" if "%" in label else "log")
        axis.set_xscale("log", base=2)
        axis.set_xlabel("sequence length (steps)")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.tick_params(axis="x", labelrotation=45)
    finish_figure(figure, styles, ESTIMATES)
    return figure


def draw_truncations(frame: pd.DataFrame) -> Figure:
    """Draws test accuracies on one data set by truncation of the supervised gradient, evenly spaced."""
    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    axis, groups = figure.subplots(), frame.groupby("model", sort=False)
    reaches = sorted(frame["truncation"].unique(), key=lambda reach: math.inf if reach == "full" else int(reach))
    for number, (model, members) in enumerate(groups):
        places = members["truncation"].map(reaches.index) + 0.05 * (number - (len(groups) - 1) / 2)
        draw_estimates(axis, members.assign(place=places), "place", "test_accuracy", STYLES[model])
    axis.set_xticks(range(len(reaches)), ["0\n(none)" if reach == "0" else reach for reach in reaches])
    axis.set(xlabel="truncation of the supervised gradient (steps)", ylabel="test accuracy (%)")
    axis.set_title(frame["data"].iloc[0])
    finish_figure(figure, {name_row(model): STYLES[model] for model in groups.groups}, ESTIMATES)
    return figure


def draw_curves(frame: pd.DataFrame) -> Figure:
    """Draws accuracy and losses on one data set by epoch, on the training batches and on the test split."""
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    labels = ("accuracy (%)", "supervised loss (nats)", "auxiliary loss")
    names = (["accuracy"], ["supervised_loss"], ["reconstruct_loss", "predict_loss"])
    axes, groups = figure.subplots(1, 3), frame.groupby("model", sort=False)
    for axis, label, metrics in zip(axes, labels, names, strict=True):
        factor = 100 if "%" in label else 1
        for model, members in groups:
            test, train = (factor * mean_curve(members["history"], split, metrics) for split in ("test", "train"))
            draw_curve(axis, test, STYLES[model] | dict(markersize=4), has_band=len(members) > 1)
            draw_curve(axis, train, dict(color=STYLES[model]["color"], linestyle="--"))
        axis.set(xlabel="epoch (below 0: pretraining)", ylabel=label)
    axes[0].set_title(frame["data"].iloc[0], loc="left")
    entries = {name_row(model): STYLES[model] for model in groups.groups}
    entries |= {"test": dict(color="0.4", linestyle="-"), "training": dict(color="0.4", linestyle="--")}
    finish_figure(figure, entries, "mean over seeds; bands: 95 % interval on the test split", columns=8)
    return figure


def mean_curve(histories: pd.Series, split: str, metrics: list[str]) -> pd.DataFrame:
    """Returns `mean` and `half` over seeds, from 'test' or 'train' metrics in the history of each record.

    Epochs are those of joint training, below 0 in pretraining. Several metrics of an evaluation are averaged.
    """
    points = []
    for entries in map(pd.DataFrame, histories):
        start = entries["epoch"].where(entries["phase"] == "pretrain", 0.0).max()
        values = entries.reindex(columns=[f"{split}_{name}" for name in metrics]).astype(float).mean(axis=1)
        points.append(values.set_axis(entries["epoch"] - start).dropna())
    return estimate_curve(points)


def draw_compute(frame: pd.DataFrame) -> Figure:
    """Draws validation accuracy on one data set by the FLOPs and the hours of training up to each evaluation."""
    figure, styles = Figure(figsize=(8.0, 3.5), layout="constrained"), row_styles(frame)
    axes = figure.subplots(1, 2, sharey=True)
    for name, members in frame.groupby("name", sort=False):
        points = pd.concat(map(pd.DataFrame, members["history"])).query("phase == 'train'").groupby("step")
        accuracies = 100 * estimate_means(points["validation_accuracy"])
        for axis, places in zip(axes, (points["teraflop"].mean(), points["seconds"].mean() / 3600), strict=True):
            axis.errorbar(places, accuracies["mean"], accuracies["half"], **styles[name], **BARS)
    axes[0].set(xlabel="training (TFLOP)", ylabel="validation accuracy (%)")
    axes[1].set(xlabel="training and evaluation (hours)")
    axes[0].set_title(frame["data"].iloc[0], loc="left")
    finish_figure(figure, styles, "mean over seeds, 95 % interval; pretraining is included in FLOPs and hours")
    return figure


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    **dict.fromkeys(("table2", "text", "ablations"), draw_accuracies),
    "lengths": draw_lengths,
    "bptt": draw_truncations,
    "curves": draw_curves,
    "compute": draw_compute,
}
