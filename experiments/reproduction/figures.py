"""The figure of each experiment: readable in grey print and with colour blindness.

Each is drawn from one line per recorded run, see `report.describe_rows`.
"""

import math
from collections.abc import Callable

import pandas as pd
from summaries import CAPTION, GRID, Style, draw_curve, estimate_curve, estimate_means, finish_figure, limit_percent

from aux_rnn.plots.curves import label_values
from aux_rnn.plots.style import Axes, Figure
from reproduction.models import FULL

FAINT: Style = dict(linestyle="none", markersize=3.5, markeredgewidth=0, alpha=0.3)
BARS: Style = dict(linewidth=1.2, markersize=4.5, capsize=2)
ESTIMATES = "filled: mean over seeds, 95 % interval; faint: single seeds"


def styles_of(frame: pd.DataFrame) -> dict[str, Style]:
    """Returns the style of each line by name, for a legend."""
    return dict(zip(frame["line"], frame["style"], strict=True))


def draw_accuracies(frame: pd.DataFrame) -> Figure:
    """Draws test accuracies, one panel per data set and one line per row."""
    names = list(frame["name"].unique())
    panels = frame.groupby("data", sort=False)
    figure = Figure(figsize=(1.7 + 2.2 * max(len(panels), 1.5), 0.9 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (data, panel) in zip(axes, panels, strict=True):
        for name, group in panel.groupby("name"):
            place, style = names.index(name), group["style"].iloc[0] | dict(linestyle="none")
            if len(group) > 1:
                axis.plot(group["test_accuracy"], [place + 0.24] * len(group), **style | FAINT)
            ((mean, half),) = estimate_means(group.groupby("name")["test_accuracy"]).to_numpy()
            axis.errorbar(mean, place, xerr=half, **style, markersize=4.5, elinewidth=1, capsize=2)
            axis.plot(group["paper"].iloc[:1], [place], **style, mfc="white", markersize=5.5)
        axis.set(title=data, xlabel="test accuracy (%)")
        limit_percent(axis, "x")
        axis.grid(axis="x", color=GRID)
    axes[0].set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.5, -0.5))
    figure.supxlabel(ESTIMATES + "; hollow: the paper" * bool(frame["paper"].notna().any()), **CAPTION)
    return figure


def draw_estimates(axis: Axes, frame: pd.DataFrame, x: str, y: str) -> None:
    """Draws the means of column `y` by column `x` with their intervals, joined by a line, and faint single seeds."""
    for _, members in frame[frame[y].notna()].groupby("line", sort=False):
        style, groups = members["style"].iloc[0], members.groupby(x)[y]
        if groups.size().max() > 1:
            axis.plot(members[x], members[y], **style | FAINT)
        means = estimate_means(groups)
        axis.errorbar(means.index, means["mean"], means["half"], **style, **BARS)


def draw_lengths(frame: pd.DataFrame) -> Figure:
    """Draws accuracy, seconds per step and peak memory by length, on logarithmic axes."""
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    columns = ("test_accuracy", "seconds_per_step", "peak_memory_mib")
    labels = ("test accuracy (%)", "seconds per step", "peak memory (MiB)")
    for axis, column, label in zip(figure.subplots(1, 3), columns, labels, strict=True):
        draw_estimates(axis, frame, "length", column)
        label_values(axis, label, "linear" if "%" in label else "log")
        axis.set_xscale("log", base=2)
        axis.set_xlabel("sequence length (steps)")
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.tick_params(axis="x", labelrotation=45)
    finish_figure(figure, styles_of(frame), ESTIMATES)
    return figure


def draw_truncations(frame: pd.DataFrame) -> Figure:
    """Draws test accuracies on one data set by truncation of the supervised gradient, evenly spaced."""
    figure = Figure(figsize=(6.4, 3.9), layout="constrained")
    axis, lines = figure.subplots(), list(frame["line"].unique())
    reaches = sorted(frame["truncation"].unique(), key=lambda reach: math.inf if reach == FULL else int(reach))
    shifts = 0.05 * (frame["line"].map(lines.index) - (len(lines) - 1) / 2)
    draw_estimates(axis, frame.assign(place=frame["truncation"].map(reaches.index) + shifts), "place", "test_accuracy")
    axis.set_xticks(range(len(reaches)), ["0\n(none)" if reach == "0" else reach for reach in reaches])
    axis.set(xlabel="truncation of the supervised gradient (steps)", ylabel="test accuracy (%)")
    axis.set_title(frame["data"].iloc[0])
    finish_figure(figure, styles_of(frame), ESTIMATES)
    return figure


def draw_curves(frame: pd.DataFrame) -> Figure:
    """Draws accuracy and losses on one data set by epoch, on the training batches and on the test split."""
    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    labels = ("accuracy (%)", "supervised loss (nats)", "auxiliary loss")
    names = (["accuracy"], ["supervised_loss"], ["reconstruct_loss", "predict_loss"])
    axes = figure.subplots(1, 3)
    for axis, label, metrics in zip(axes, labels, names, strict=True):
        factor = 100 if "%" in label else 1
        for _, members in frame.groupby("line", sort=False):
            style = members["style"].iloc[0]
            test, train = (factor * mean_curve(members["history"], split, metrics) for split in ("test", "train"))
            draw_curve(axis, test, style | dict(markersize=4), has_band=len(members) > 1)
            draw_curve(axis, train, dict(color=style["color"], linestyle="--"))
        axis.set(xlabel="epoch (below 0: pretraining)", ylabel=label)
    axes[0].set_title(frame["data"].iloc[0], loc="left")
    splits = {"test": dict(color="0.4", linestyle="-"), "training": dict(color="0.4", linestyle="--")}
    entries = styles_of(frame) | splits
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
    figure = Figure(figsize=(8.0, 3.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for _, members in frame.groupby("line", sort=False):
        points = pd.concat(map(pd.DataFrame, members["history"])).query("phase == 'train'").groupby("step")
        accuracies = 100 * estimate_means(points["validation_accuracy"])
        for axis, places in zip(axes, (points["teraflop"].mean(), points["seconds"].mean() / 3600), strict=True):
            axis.errorbar(places, *accuracies.to_numpy().T, **members["style"].iloc[0], **BARS)
    axes[0].set(xlabel="training (TFLOP)", ylabel="validation accuracy (%)")
    axes[1].set(xlabel="training and evaluation (hours)")
    axes[0].set_title(frame["data"].iloc[0], loc="left")
    caption = "mean over seeds, 95 % interval; pretraining is included in FLOPs and hours"
    finish_figure(figure, styles_of(frame), caption)
    return figure


# With the title of the report.
EXPERIMENTS: dict[str, tuple[str, Callable[[pd.DataFrame], Figure]]] = {
    "table2": ("Test accuracy by data set, model and truncation (the paper's table 2)", draw_accuracies),
    "lengths": ("Accuracy, time and memory by sequence length", draw_lengths),
    "bptt": ("Test accuracy by truncation of the supervised gradient", draw_truncations),
    "curves": ("Training and test curves", draw_curves),
    "compute": ("Validation accuracy by the cost of training", draw_compute),
    "text": ("Text by character", draw_accuracies),
    "ablations": ("Which parts of the auxiliary loss matter", draw_accuracies),
}
