"""What the figures of `reproduce.py` and `compare.py` share: estimates, curves, legends, captions and files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from confidence import Estimate, estimate_mean
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aux_rnn.plots.style import render
from aux_rnn.storage.workdir import write_atomically

Style = dict[str, Any]  # color, marker and linestyle of a line, so that lines differ in grey print as well


def save_figure(path: Path, figure: Figure) -> None:
    """Writes `path` with .png (200 dots per inch) and .svg (text as text). Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for ending in ("png", "svg"):
        write_atomically(path.with_name(f"{path.name}.{ending}"), render(figure, ending))


def draw_estimate(
    axis: Axes,
    position: float,
    values: Sequence[float],
    style: Style,
    *,
    is_horizontal: bool = False,
    offset: float = 0,
) -> None:
    """Draws single values as faint marks, and their mean with its 95 % interval.

    Args:
      axis: where to draw.
      position: on the axis that does not show the values.
      values: at least one, one per seed.
      style: color and marker.
      is_horizontal: whether values are on the horizontal axis.
      offset: distance of the faint marks from `position`.
    """
    color, marker, mean = style["color"], style["marker"], estimate_mean(values)

    def plot(places: Sequence[float], shown: Sequence[float], **marks: Any) -> None:
        points = (shown, places) if is_horizontal else (places, shown)
        axis.plot(*points, marker=marker, linestyle="none", **marks)

    if len(values) > 1:
        faint = dict(mfc=color, mec="none", markersize=3.5, alpha=0.3, zorder=2)
        plot([position + offset] * len(values), values, **faint)
        points = (mean.mean, position) if is_horizontal else (position, mean.mean)
        bars: dict[str, Any] = {"xerr" if is_horizontal else "yerr": mean.half}
        axis.errorbar(*points, **bars, color=color, linewidth=1, capsize=2, zorder=3)
    plot([position], [mean.mean], color=color, markersize=4.5, zorder=4)


def draw_band(
    axis: Axes, curve: Mapping[float, Estimate], color: str, factor: float = 1.0, alpha: float = 0.15
) -> None:
    """Draws the 95 % intervals of a curve, a mean per epoch, as a band; a single interval as a line."""
    epochs = list(curve)
    means, halves = (factor * np.array(part, float) for part in zip(*curve.values(), strict=True))
    low, high = means - halves, means + halves
    if axis.get_yscale() == "log":  # which cannot show an interval that reaches below zero
        low = np.maximum(low, means / 10)
    if len(epochs) > 1:
        axis.fill_between(epochs, low, high, color=color, alpha=alpha, linewidth=0)
    else:
        axis.vlines(epochs, low, high, color=color, alpha=0.4)


def draw_curve(axis: Axes, curve: Mapping[float, Estimate], style: Style, factor: float = 1.0) -> None:
    """Draws the means of a curve, with about ten marks."""
    means = factor * np.array([estimate.mean for estimate in curve.values()])
    axis.plot(list(curve), means, markevery=max(1, len(curve) // 10), linewidth=1.2, **style)


def limit_percent(axis: Axes, is_horizontal: bool = False) -> None:
    """Ends an axis of percentages at 0 and 100, however wide the interval of two or three seeds is."""
    low, high = axis.get_xlim() if is_horizontal else axis.get_ylim()
    (axis.set_xlim if is_horizontal else axis.set_ylim)(max(low, -1), min(high, 101))


def add_legend(figure: Figure, entries: Mapping[str, Style], columns: int = 4) -> None:
    """Adds a legend of lines, by name, above all panels."""
    handles = [Line2D([], [], label=name, **style) for name, style in entries.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns), frameon=False)


def add_caption(figure: Figure, text: str) -> None:
    """Adds a small line below all panels."""
    figure.supxlabel(text, fontsize=7, color="0.35")
