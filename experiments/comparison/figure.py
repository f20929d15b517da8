"""The curves of several rows in one picture: the mean of the seeds, with its interval as a band."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from aux_rnn.plot_curves import Panel, label_values, panels_of
from aux_rnn.plot_style import COLORS, DASHES, MARKERS
from comparison.runs import Row

MOST_ROWS = len(COLORS)
FEWEST_SEEDS = 3  # for a band; that of two would hide all else
LETTERS = 100  # that a line of the legend has room for
ORDER = ("supervised_loss", "reconstruct_loss", "predict_loss", "accuracy", "gradient_norm")


def draw_comparison(rows: Sequence[Row], split: str) -> Figure:
    """One panel a number.

    Args:
      rows: at most `MOST_ROWS`, which is how many lines can be told apart.
      split: 'train', 'validation' or 'test'; the gradient norm is always of the training batches.
    """
    drawn = dict.fromkeys(panel for row in rows for panel in panels_of(row.runs[0].config))
    panels = sorted(drawn, key=lambda panel: ORDER.index(panel.name))
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(8.4, 0.7 + 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    for axis, panel in zip(axes, panels, strict=False):
        for row, style in zip(rows, styles(), strict=False):
            draw_row(axis, panel, row, "train" if panel.name == "gradient_norm" else split, style)
        label_values(axis, panel)
        axis.set_xlabel("epoch, pretraining included")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(color="0.88")
        if panel.name == "accuracy":  # however far the interval of two or three seeds goes
            low, high = axis.get_ylim()
            axis.set_ylim(max(low, -1), min(high, 101))
    for axis in axes[len(panels) :]:
        axis.remove()
    handles = [Line2D([], [], label=row.name, **style) for row, style in zip(rows, styles(), strict=False)]
    letters = sum(len(row.name) + 8 for row in rows)  # with its line
    figure.legend(
        handles=handles, loc="outside upper center", ncols=len(rows) if letters < LETTERS else 1, frameon=False
    )
    where = {"train": "training batches", "validation": "validation split", "test": "test split"}[split]
    figure.supxlabel(
        f"{where}; mean of the seeds, bands: its 95 % interval, from three seeds on", fontsize=7, color="0.35"
    )
    return figure


def styles() -> list[dict[str, Any]]:
    """Lines that differ in colour, in dashes and in markers."""
    return [
        dict(color=color, linestyle=dashes, marker=marker, markersize=3.5, linewidth=1.2)
        for color, dashes, marker in zip(COLORS, DASHES, MARKERS, strict=True)
    ]


def draw_row(axis: Axes, panel: Panel, row: Row, split: str, style: dict[str, Any]) -> None:
    curve = row.curve(split, panel.name)
    if not curve:
        return
    epochs = list(curve)
    means = panel.factor * np.array([estimate.mean for estimate in curve.values()])
    halves = panel.factor * np.array([estimate.half or 0.0 for estimate in curve.values()])
    low = means - halves
    if panel.scale == "log":  # an interval that reaches below zero has no place there
        low = np.maximum(low, means / 10)
    if len(row.runs) >= FEWEST_SEEDS and len(epochs) > 1:
        axis.fill_between(epochs, low, means + halves, color=style["color"], alpha=0.15, linewidth=0)
    elif len(row.runs) >= FEWEST_SEEDS:  # a band needs two points
        axis.vlines(epochs, low, means + halves, color=style["color"], alpha=0.4)
    axis.plot(epochs, means, markevery=max(1, len(epochs) // 10), **style)
