"""The figure of training and test curves."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reproduction.records import Record
from reproduction.rows import MODEL_NAMES, Line
from reproduction.statistics import Estimate, estimate_mean
from reproduction.styles import STYLES

# Panels: entry of the history after the split's name, label, factor.
ACCURACY, SUPERVISED, AUXILIARY = "accuracy", "supervised_loss", "auxiliary_loss"
PANELS = (
    (ACCURACY, "accuracy (%)", 100.0),
    (SUPERVISED, "supervised loss (nats)", 1.0),
    (AUXILIARY, "auxiliary loss", 1.0),
)
LINES = {"train": "--", "test": "-"}


def draw_curves(lines: Sequence[Line]) -> Figure:
    """Accuracy and losses against epochs, on the training batches and on the test split."""
    datasets = list(dict.fromkeys(line.data for line in lines))
    figure = Figure(figsize=(9.6, 0.8 + 2.7 * len(datasets)), layout="constrained")
    for row, data in zip(figure.subplots(len(datasets), len(PANELS), squeeze=False), datasets, strict=True):
        for panel, (name, label, factor) in zip(row, PANELS, strict=True):
            for line in (line for line in lines if line.data == data):
                for split in LINES:
                    draw_curve(panel, line, split, name, factor)
            panel.set(xlabel="epoch (below 0: pretraining)" if name == AUXILIARY else "epoch", ylabel=label)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.grid(color="0.9")
            show_means(panel)
        row[0].set_title(data, loc="left")
    add_curve_legend(figure, list(dict.fromkeys(line.model for line in lines if line.records)))
    return figure


def draw_curve(panel: Axes, line: Line, split: str, name: str, factor: float) -> None:
    """The mean over seeds; on the test split with its 95 % interval as a band."""
    curve = mean_curve(line.records, split, name)
    if not curve:
        return
    style, epochs = STYLES[line.model], list(curve)
    means = [factor * curve[epoch].mean for epoch in epochs]
    halves = [factor * (curve[epoch].half or 0.0) for epoch in epochs]
    low, high = ([m + sign * h for m, h in zip(means, halves, strict=True)] for sign in (-1, 1))
    if split == "test":
        panel.fill_between(epochs, low, high, color=style.color, alpha=0.12, linewidth=0)
    marks = dict(marker=style.marker, markersize=4, markevery=max(1, len(epochs) // 8)) if split == "test" else {}
    panel.plot(epochs, means, color=style.color, linestyle=LINES[split], linewidth=1.2, **marks)  # type: ignore[arg-type]


def show_means(panel: Axes) -> None:
    """Leaves the whole of the lines in view; bands, which are wide for two or three seeds, as far as they fit."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in panel.get_lines()] or [np.zeros(0)])
    if values.size:
        margin = 0.12 * np.ptp(values) or 0.1
        panel.set_ylim(float(values.min() - margin), float(values.max() + margin))


def mean_curve(records: Sequence[Record], split: str, name: str) -> dict[float, Estimate]:
    """The mean over seeds of a value of the history, by epoch of joint training; epochs below 0 are of pretraining.

    'auxiliary_loss' is the reconstruction or the prediction loss, or their mean where there are both.
    """
    values: dict[float, list[float]] = {}
    for record in records:
        begin = max((entry["epoch"] for entry in record["history"] if entry["phase"] == "pretrain"), default=0.0)
        for entry in record["history"]:
            names = [f"{split}_{kind}_loss" for kind in ("reconstruct", "predict")]
            wanted = names if name == AUXILIARY else [f"{split}_{name}"]
            found = [entry[key] for key in wanted if entry.get(key) is not None]
            if found:
                values.setdefault(round(entry["epoch"] - begin, 6), []).append(sum(found) / len(found))
    return {epoch: estimate_mean(values[epoch]) for epoch in sorted(values)}


def add_curve_legend(figure: Figure, models: Sequence[str]) -> None:
    def entry(label: str, **style: object) -> Line2D:
        return Line2D([], [], label=label, **style)  # type: ignore[arg-type]

    handles = [entry(MODEL_NAMES[m], color=STYLES[m].color, marker=STYLES[m].marker, markersize=4) for m in models]
    handles += [entry(label, color="0.4", linestyle=LINES[s]) for s, label in (("test", "test"), ("train", "training"))]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    figure.supxlabel("mean of the seeds; bands: its 95 % interval on the test split", fontsize=7, color="0.35")
