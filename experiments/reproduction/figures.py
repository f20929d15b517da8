"""The figure of each experiment: readable in grey print and with colour blindness."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from confidence import Estimate, estimate_curve, estimate_mean
from drawing import Style, add_caption, add_legend, draw_band, draw_curve, draw_estimate, limit_percent
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aux_rnn.model.metric_names import METRICS
from aux_rnn.plots.style import BLACK, BLUE, GREEN, PURPLE, SKY, VERMILION
from reproduction.grid import WITHOUT

ROW = ["data", "model", "truncation"]  # of the grid
# Names in figures and tables, and styles; a row of `ablations` has the name of its change.
MODEL_NAMES = {
    "lstm": "LSTM",
    "r-lstm": "r-LSTM",
    "p-lstm": "p-LSTM",
    "both": "r- and p-LSTM",
    "transformer": "Transformer",
    "r-lstm-cut-both": "r-LSTM, both losses truncated",
}
COLORS = (BLACK, BLUE, VERMILION, GREEN, PURPLE, SKY)
STYLES: dict[str, Style] = {
    model: dict(color=color, marker=marker, linestyle=line)
    for model, color, marker, line in zip(MODEL_NAMES, COLORS, "os^PvX", ("-", "-", "-", "-", "-.", ":"), strict=True)
}
GRID = "0.9"


def model_name(model: str) -> str:
    return MODEL_NAMES.get(model, model)


def reach_name(truncation: str) -> str:
    """Returns 'truncated', 'full', '50 steps' or '1 step'."""
    return f"{truncation} step{'s' * (truncation != '1')}" if truncation.isdigit() else truncation


def row_name(model: str, truncation: str) -> str:
    """Returns 'r-LSTM, truncated'."""
    return model_name(model) if truncation == WITHOUT else f"{model_name(model)}, {reach_name(truncation)}"


def values_of(group: pd.DataFrame, name: str) -> list[float]:
    """Returns the known values of a column, one per seed."""
    return group[name].dropna().astype(float).tolist() if name in group else []


def draw_accuracies(frame: pd.DataFrame) -> Figure:
    """Draws test accuracies, one panel per data set and one line per row."""
    datasets = frame["data"].unique()
    names = [row_name(*row) for row in frame[["model", "truncation"]].drop_duplicates().to_numpy()]
    figure = Figure(figsize=(1.7 + 2.2 * max(len(datasets), 1.5), 0.9 + 0.27 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for axis, data in zip(axes, datasets, strict=True):
        for (_, model, truncation), group in frame[frame["data"] == data].groupby(ROW, sort=False):
            style, position = STYLES.get(model, STYLES["r-lstm"]), names.index(row_name(model, truncation))
            paper = dict(marker=style["marker"], mfc="white", mec=style["color"], markersize=5.5, zorder=3.5)
            axis.plot([group["paper"].iloc[0]], [position], linestyle="none", **paper)
            values = values_of(group, "test_accuracy")
            draw_estimate(axis, position, values, style, is_horizontal=True, offset=0.24)
        axis.set(title=data, xlabel="test accuracy (%)")
        limit_percent(axis, is_horizontal=True)
        axis.grid(axis="x", color=GRID)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    add_estimate_caption(figure, frame)
    return figure


def draw_lengths(frame: pd.DataFrame) -> Figure:
    """Draws accuracy, seconds per step and peak memory by length, on logarithmic axes."""
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    full = dict(marker="D", linestyle="--")  # the same model with full backpropagation
    variants = list(frame.groupby(["model", "truncation"], sort=False).groups)
    styles = {(model, reach): STYLES[model] | (full if reach == "full" else {}) for model, reach in variants}
    names = ("test_accuracy", "seconds_per_step", "peak_memory_mib")
    labels = ("test accuracy (%)", "seconds per step", "peak memory (MiB)")
    for axis, name, label in zip(figure.subplots(1, 3), names, labels, strict=True):
        known = frame[frame[name].notna()]
        for variant, members in known.groupby(["model", "truncation"], sort=False):
            draw_means(axis, {length: values_of(g, name) for length, g in members.groupby("length")}, styles[variant])
        axis.set(xscale="log", xlabel="sequence length (steps)", ylabel=label)
        axis.grid(color=GRID)
        if name == "test_accuracy":
            limit_percent(axis)
        else:
            axis.set_yscale("log")
        set_length_ticks(axis, sorted(frame["length"].unique()))
    add_legend(figure, {row_name(*variant): style | dict(markersize=5) for variant, style in styles.items()})
    add_estimate_caption(figure, frame)
    return figure


def set_length_ticks(axis: Axes, lengths: Sequence[int]) -> None:
    """Sets ticks at the lengths, with a label at every second one where there are many."""
    labels = [f"{n:,}" if (len(lengths) - 1 - k) % 2 == 0 or len(lengths) < 5 else "" for k, n in enumerate(lengths)]
    axis.set_xticks(lengths, labels)
    axis.tick_params(axis="x", labelrotation=45)
    axis.minorticks_off()


def draw_means(axis: Axes, values: dict[float, list[float]], style: Style, is_joined: bool = True) -> None:
    """Draws estimates by position, joined by a line."""
    for position, of_seeds in values.items():
        draw_estimate(axis, position, of_seeds, style)
    if is_joined:
        means = [estimate_mean(of_seeds).mean for of_seeds in values.values()]
        axis.plot(list(values), means, color=style["color"], linestyle=style["linestyle"], linewidth=1.2, zorder=2)


def draw_truncations(frame: pd.DataFrame) -> Figure:
    """Draws test accuracies by truncation of the supervised gradient; '0' and 'full' are set apart."""
    datasets, models = frame["data"].unique(), list(frame["model"].unique())
    figure = Figure(figsize=(6.4, 0.7 + 3.2 * len(datasets)), layout="constrained")
    places = place_truncations(list(frame["truncation"].unique()))
    width = max(places.values()) - min(places.values())
    for axis, data in zip(figure.subplots(len(datasets), 1, squeeze=False)[:, 0], datasets, strict=True):
        for model, members in frame[frame["data"] == data].groupby("model", sort=False):
            dodge = width * 0.011 * (models.index(model) - (len(models) - 1) / 2)
            for is_joined in (False, True):
                part = members[members["truncation"].isin(("0", "full")) != is_joined]
                groups = part.groupby("truncation", sort=False)
                values = {places[t] + dodge: values_of(group, "test_accuracy") for t, group in groups}
                draw_means(axis, values, STYLES[model], is_joined)
        axis.set_xticks(list(places.values()), [{"0": "0\n(none)"}.get(steps, steps) for steps in places])
        axis.set(xlabel="truncation of the supervised gradient (steps)", ylabel="test accuracy (%)", title=data)
        axis.grid(axis="y", color=GRID)
        limit_percent(axis)
    add_legend(figure, {model_name(model): STYLES[model] | dict(markersize=5) for model in models})
    add_estimate_caption(figure, frame)
    return figure


def place_truncations(truncations: Sequence[str]) -> dict[str, float]:
    """Returns positions on the axis: the logarithm of the steps, with '0' and 'full' at the ends."""
    steps = sorted({int(t) for t in truncations if t.isdigit() and t != "0"})
    if not steps:
        return {t: float(k) for k, t in enumerate(truncations)}
    first, last = math.log(steps[0]), math.log(steps[-1])
    gap = max(0.16 * (last - first), 0.5)
    places = {"0": first - gap, **{str(t): math.log(t) for t in steps}, "full": last + gap}
    return {t: place for t, place in places.items() if t in truncations}


def add_estimate_caption(figure: Figure, frame: pd.DataFrame) -> None:
    text = "filled: mean over seeds, 95 % interval; faint: single seeds"
    add_caption(figure, text + "; hollow: the paper" * bool(frame["paper"].notna().any()))


def draw_curves(frame: pd.DataFrame) -> Figure:
    """Draws accuracy and losses by epoch, on the training batches and on the test split."""
    datasets = frame["data"].unique()
    figure = Figure(figsize=(9.6, 0.8 + 2.7 * len(datasets)), layout="constrained")
    accuracy, supervised = METRICS["accuracy"], METRICS["supervised_loss"]
    panels = {
        (accuracy.name,): (f"{accuracy.label} ({accuracy.unit})", accuracy.factor),
        (supervised.name,): (f"{supervised.label} ({supervised.unit})", supervised.factor),
        ("reconstruct_loss", "predict_loss"): ("auxiliary loss", 1.0),
    }
    for axes, data in zip(figure.subplots(len(datasets), len(panels), squeeze=False), datasets, strict=True):
        for axis, (names, (label, factor)) in zip(axes, panels.items(), strict=True):
            for model, group in frame[frame["data"] == data].groupby("model", sort=False):
                draw_model(axis, list(group["history"]), names, STYLES[model], factor)
            axis.set(xlabel="epoch (below 0: pretraining)" if len(names) > 1 else "epoch", ylabel=label)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid(color=GRID)
            fit_to_means(axis)
        axes[0].set_title(data, loc="left")
    entries = {model_name(model): STYLES[model] | dict(markersize=4) for model in frame["model"].unique()}
    splits = {"test": dict(color="0.4", linestyle="-"), "training": dict(color="0.4", linestyle="--")}
    add_legend(figure, entries | splits, columns=8)
    add_caption(figure, "mean over seeds; bands: 95 % interval on the test split")
    return figure


def draw_model(axis: Axes, histories: Sequence[list[dict]], names: Sequence[str], style: Style, factor: float) -> None:
    """Draws the curves of a model on the test split, with a band, and on the training batches."""
    if test := mean_curve(histories, [f"test_{name}" for name in names]):
        if len(histories) > 1:
            draw_band(axis, test, style["color"], factor, alpha=0.12)
        draw_curve(axis, test, style | dict(markersize=4), factor)
    if train := mean_curve(histories, [f"train_{name}" for name in names]):
        draw_curve(axis, train, dict(color=style["color"], linestyle="--"), factor)


def mean_curve(histories: Sequence[list[dict]], names: Sequence[str]) -> dict[float, Estimate]:
    """Returns the mean over seeds by epoch of joint training; epochs below 0 are of pretraining.

    Args:
      histories: see `read_history`, one per seed.
      names: the entries to draw; of several that an evaluation has, their mean.
    """
    points = []
    for history in histories:
        start = max((entry["epoch"] for entry in history if entry["phase"] == "pretrain"), default=0.0)
        found = [(e["epoch"] - start, [e[name] for name in names if e.get(name) is not None]) for e in history]
        points += [(epoch, sum(values) / len(values)) for epoch, values in found if values]
    return estimate_curve(points)


def fit_to_means(axis: Axes) -> None:
    """Keeps the lines in view, and bands, which are wide for two or three seeds, as far as they fit."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()] or [np.zeros(0)])
    if values.size:
        margin = 0.12 * np.ptp(values) or 0.1
        axis.set_ylim(float(values.min() - margin), float(values.max() + margin))


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "table2": draw_accuracies,
    "lengths": draw_lengths,
    "bptt": draw_truncations,
    "curves": draw_curves,
    "text": draw_accuracies,
    "ablations": draw_accuracies,
}
