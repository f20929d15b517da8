"""The curves of one run: losses, accuracy and gradient norm, of the training batches and of the held-out splits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from aux_rnn.config.settings import Config, DataConfig
from aux_rnn.datasets import sequence_spec
from aux_rnn.datasets.arrays import TOKENS, is_arrays
from aux_rnn.model.metric_names import AUXILIARY_UNIT, DRAWN, Metric
from aux_rnn.plots.style import BLACK, BLUE, VERMILION, Axes, Figure, LogLocator, MaxNLocator
from aux_rnn.storage.metrics_file import Record, curve_of

# Lines differ in marker and dashes as well as in their colours.
SPLITS: dict[str, dict[str, Any]] = {
    "train": dict(color=BLUE, linestyle="-", marker="", label="training batches"),
    "validation": dict(color=VERMILION, linestyle="--", marker="o", label="validation"),
    "test": dict(color=BLACK, linestyle=":", marker="D", label="test"),
}


def panels_of(config: Config) -> list[Metric]:
    """Returns the metrics of a run that are drawn, labeled with their units."""
    has_logits = config.model.pixel_loss == "softmax" or has_tokens(config.data)
    units = {AUXILIARY_UNIT: "nats" if has_logits else "squared error"}
    absent = {"reconstruct_loss", "predict_loss"} - {f"{kind}_loss" for kind in config.model.auxiliaries}
    panels = []
    for metric in DRAWN:
        if metric.name not in absent:
            unit = units.get(metric.unit, metric.unit)
            panels.append(metric._replace(label=f"{metric.label} ({unit})" if unit else metric.label))
    return panels


def has_tokens(config: DataConfig) -> bool:
    """Returns whether sequences consist of tokens, not of values."""
    if is_arrays(config.dataset):
        return config.dataset.startswith(TOKENS)
    # Data sets of TFDS are images; their folder need not exist on this machine.
    return not config.dataset.startswith("tfds:") and sequence_spec(config).vocabulary_size > 0


def draw_curves(records: Sequence[Record], config: Config, title: str) -> Figure:
    """Draws one panel per metric of the lines of `metrics.jsonl`, with pretraining shaded."""
    panels = panels_of(config)
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(8.4, 0.7 + 2.3 * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    for axis in axes[len(panels) :]:
        axis.remove()
    lines: dict[str, Any] = {}
    pretrained = max((record["epoch"] for record in records if record["phase"] == "pretrain"), default=0.0)
    for axis, panel in zip(axes, panels, strict=False):
        lines |= draw_panel(axis, panel, records)
        label_values(axis, panel.label, panel.scale)
        mark_phases(axis, pretrained)
    for axis in axes[len(panels) - 2 : len(panels)]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("epoch")
    if clip := config.optimizer.clip_norm:
        axis = next(axis for axis, panel in zip(axes, panels, strict=False) if panel.name == "gradient_norm")
        axis.axhline(clip, color="0.4", linewidth=0.8, linestyle=(0, (1, 3)))
        place: dict[str, Any] = dict(xycoords=("axes fraction", "data"), ha="right", va="bottom")
        axis.annotate(f"clipped at {clip:g}", (1, clip), fontsize=6, **place)
    handles = [lines[split] for split in SPLITS if split in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(SPLITS))
    return figure


def label_values(axis: Axes, label: str, scale: str) -> None:
    """Labels the vertical axis; a logarithmic one has ticks at 0.2, 0.5, 1, 2, 5 ..."""
    axis.set(ylabel=label, yscale=scale)
    if scale == "log":
        axis.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")


def draw_panel(axis: Axes, panel: Metric, records: Sequence[Record]) -> dict[str, Any]:
    """Draws the curve of each split that has one, and returns the lines by split."""
    lines = {}
    for split, style in SPLITS.items():
        curve = curve_of(records, split, panel.name)
        if curve.epochs:
            values, every = panel.factor * np.array(curve.values, float), max(1, len(curve.epochs) // 25)
            (lines[split],) = axis.plot(curve.epochs, values, markersize=3, markevery=every, linewidth=1.1, **style)
    return lines


def mark_phases(axis: Axes, boundary: float) -> None:
    axis.grid(color="0.88")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if boundary:
        axis.axvspan(0, boundary, color="0.93", zorder=0)
        axis.axvline(boundary, color="0.5", linewidth=0.8)
        place: dict[str, Any] = dict(
            xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=6, color="0.3", va="bottom"
        )
        axis.annotate("pretraining", (boundary, 1), xytext=(-3, 1), ha="right", **place)
        axis.annotate("joint training", (boundary, 1), xytext=(3, 1), ha="left", **place)
    axis.set_xlim(left=0)
