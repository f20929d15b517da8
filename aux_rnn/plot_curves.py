"""The curves of one run: losses, accuracy and gradient norm, on the training batches and on the held-out splits."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from aux_rnn.config import Config, DataConfig
from aux_rnn.datasets import find_dataset
from aux_rnn.datasets.arrays import TOKENS, is_arrays
from aux_rnn.datasets.specs import TextDataset
from aux_rnn.plot_style import BLACK, BLUE, VERMILION
from aux_rnn.run_records import Record, curve_of, end_of_pretraining

PRETRAINING = "0.93"


class Panel(NamedTuple):
    """One number of a run, and how its axis is drawn."""

    name: str
    label: str
    factor: float = 1.0
    scale: str = "linear"


class SplitStyle(NamedTuple):
    """How a split is drawn in every panel."""

    color: str
    linestyle: str
    marker: str


SPLITS = {
    "train": SplitStyle(BLUE, "-", ""),
    "validation": SplitStyle(VERMILION, "--", "o"),
    "test": SplitStyle(BLACK, ":", "D"),
}
SPLIT_NAMES = {"train": "training batches", "validation": "validation", "test": "test"}


def panels_of(config: Config) -> list[Panel]:
    """What there is to draw of a run: losses with their units, accuracy, gradient norm."""
    unit = "nats" if has_tokens(config.data) or config.model.pixel_loss == "softmax" else "squared error"
    names = {"reconstruct": "reconstruction", "predict": "prediction"}
    auxiliaries = [Panel(f"{kind}_loss", f"{names[kind]} loss ({unit})") for kind in config.model.auxiliaries]
    return [
        Panel("supervised_loss", "supervised loss (nats)"),
        *auxiliaries,
        Panel("accuracy", "accuracy (%)", factor=100.0),
        Panel("gradient_norm", "gradient norm, before clipping", scale="log"),
    ]


def has_tokens(config: DataConfig) -> bool:
    """Whether sequences consist of tokens and not of values."""
    if is_arrays(config.dataset):
        return config.dataset.startswith(TOKENS)
    return isinstance(find_dataset(config), TextDataset)


def draw_curves(records: Sequence[Record], config: Config, title: str) -> Figure:
    """One panel a number, with pretraining shaded.

    Args:
      records: of `metrics.jsonl`.
      config: of the run.
      title: above all.
    """
    panels = panels_of(config)
    rows = -(-len(panels) // 2)
    figure = Figure(figsize=(8.4, 0.7 + 2.3 * rows), layout="constrained")
    figure.suptitle(title, fontsize=9)
    axes = figure.subplots(rows, 2, squeeze=False, sharex=True).ravel()
    boundary = end_of_pretraining(records)
    for axis, panel in zip(axes, panels, strict=False):
        for split in SPLITS:
            draw_split(axis, panel, split, records)
        label_values(axis, panel)
        finish_panel(axis, boundary)
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis in axes[len(panels) - 2 : len(panels)]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("epoch")
    clip = config.optimizer.clip_norm
    if clip:
        axes[len(panels) - 1].axhline(clip, color="0.4", linewidth=0.8, linestyle=(0, (1, 3)))
        axes[len(panels) - 1].annotate(
            f"clipped at {clip:g}", (1, clip), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=6
        )
    add_legend(figure, {record["kind"] for record in records})
    return figure


def label_values(axis: Axes, panel: Panel) -> None:
    """Names the number with its unit; on a logarithmic axis 0.2, 0.5, 1, 2, 5 ... are labelled."""
    axis.set(ylabel=panel.label, yscale=panel.scale)
    if panel.scale == "log":
        axis.yaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter("{x:g}")


def draw_split(axis: Axes, panel: Panel, split: str, records: Sequence[Record]) -> None:
    curve, style = curve_of(records, split, panel.name), SPLITS[split]
    if curve.epochs:
        marks: dict[str, Any] = dict(
            markersize=3, markevery=max(1, len(curve.epochs) // 25), linewidth=1.1, **style._asdict()
        )
        values = panel.factor * np.array(curve.values, float)
        axis.plot(curve.epochs, values, **marks)


def finish_panel(axis: Axes, boundary: float) -> None:
    axis.grid(color="0.88")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if boundary:
        axis.axvspan(0, boundary, color=PRETRAINING, zorder=0)
        axis.axvline(boundary, color="0.5", linewidth=0.8)
        place: dict[str, Any] = dict(
            xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=6, color="0.3", va="bottom"
        )
        axis.annotate("pretraining", (boundary, 1), xytext=(-3, 1), ha="right", **place)
        axis.annotate("joint training", (boundary, 1), xytext=(3, 1), ha="left", **place)
    axis.set_xlim(left=0)


def add_legend(figure: Figure, present: set[str]) -> None:
    handles = [
        Line2D([], [], label=SPLIT_NAMES[split], markersize=3, **style._asdict())
        for split, style in SPLITS.items()
        if split in present
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
