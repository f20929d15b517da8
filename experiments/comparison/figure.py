"""The curves of several rows: means over seeds, with their intervals as bands."""

from collections.abc import Sequence

from drawing import Style, add_caption, add_legend, draw_band, draw_curve, limit_percent
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from aux_rnn.model.metric_names import DRAWN, Metric
from aux_rnn.plots.style import COLORS, DASHES, MARKERS
from comparison.runs import Row

MAX_ROWS = len(COLORS)
MIN_SEEDS = 3  # for a band; that of two would hide the other curves
MAX_LETTERS = 100  # of a line of the legend
SPLITS = {"train": "training batches", "validation": "validation split", "test": "test split"}
STYLES: list[Style] = [
    dict(color=color, linestyle=dashes, marker=marker, markersize=3.5)
    for color, dashes, marker in zip(COLORS, DASHES, MARKERS, strict=True)
]


def draw_comparison(rows: Sequence[Row], split: str) -> Figure:
    """Draws one panel per metric and unit.

    Args:
      rows: at most `MAX_ROWS`, as many as can be distinguished.
      split: 'train', 'validation' or 'test'; the gradient norm is always that of the training batches.
    """
    panels: dict[tuple[Metric, str], list[tuple[Row, Style]]] = {}
    for metric in DRAWN:
        for row, style in zip(rows, STYLES, strict=False):
            auxiliaries = [f"{kind}_loss" for kind in row.runs[0].config.model.auxiliaries]
            if metric.name in auxiliaries or metric.name not in ("reconstruct_loss", "predict_loss"):
                panels.setdefault((metric, row.unit(metric)), []).append((row, style))
    lines = -(-len(panels) // 2)
    figure = Figure(figsize=(8.4, 0.7 + 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, 2, squeeze=False).ravel()
    for axis, ((metric, unit), members) in zip(axes, panels.items(), strict=False):
        draw_panel(axis, metric, unit, members, "train" if metric.name == "gradient_norm" else split)
    for axis in axes[len(panels) :]:
        axis.remove()
    letters = sum(len(row.name) + 8 for row in rows)  # with their lines
    entries = {row.name: style for row, style in zip(rows, STYLES, strict=False)}
    add_legend(figure, entries, columns=len(rows) if letters < MAX_LETTERS else 1)
    add_caption(figure, f"{SPLITS[split]}; mean over seeds; bands: 95 % interval, from {MIN_SEEDS} seeds on")
    return figure


def draw_panel(axis: Axes, metric: Metric, unit: str, members: Sequence[tuple[Row, Style]], split: str) -> None:
    """Draws one metric of the rows that have it in the same unit."""
    axis.set(
        ylabel=f"{metric.label} ({unit})" if unit else metric.label,
        yscale=metric.scale,
        xlabel="epoch, including pretraining",
    )
    for row, style in members:
        if curve := row.curve(split, metric.name):
            if len(row.runs) >= MIN_SEEDS:
                draw_band(axis, curve, style["color"], metric.factor)
            draw_curve(axis, curve, style, metric.factor)
    if metric.scale == "log":  # with labels at 0.2, 0.5, 1, 2, 5 ...
        axis.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(color="0.88")
    if unit == "%":
        limit_percent(axis)
