"""The picture of which class is taken for which, of 2 classes or of 120; readable in grey and by the colour-blind."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from aux_rnn.plot_style import PNG_DOTS

FEW = 20  # classes whose squares have room for a number
LONGEST_NAME = 32


def draw_confusion(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Rows are true classes, columns predicted ones; a square's darkness is its share of the row.

    Args:
      counts: int [K, K], examples by true class (row) and predicted class (column).
      names: of the K classes.
      title: of the picture.
    """
    size = len(names)
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    cell = 0.36 if size <= FEW else 0.13  # inches; letters of the names are as high as that allows
    side = max(3.2, cell * size)
    # A space of the same width for the names on the left and below, and for the bar on the right.
    figure = Figure(figsize=(side + 2.2, side + 1.8), dpi=PNG_DOTS, layout="constrained")
    panel = figure.subplots()
    # The square root makes few mistakes visible beside many right answers.
    image = panel.imshow(shares, cmap="Greys", norm=PowerNorm(0.5, 0, 100))
    label_classes(panel, names, 8 if size <= FEW else 5.5)
    panel.set_xlabel("predicted class", fontsize=9 if size <= FEW else 12)
    panel.set_ylabel("true class", fontsize=9 if size <= FEW else 12)
    panel.set_title(title, fontsize=9 if size <= FEW else 14)
    if size <= FEW:
        write_counts(panel, counts, shares)
    bar = figure.colorbar(image, ax=panel, shrink=0.6, ticks=[0, 1, 5, 20, 50, 100])
    bar.set_label("share of the true class (%)", fontsize=8 if size <= FEW else 12)
    bar.ax.tick_params(labelsize=8 if size <= FEW else 10)
    return figure


def label_classes(panel: Axes, names: Sequence[str], font_size: float) -> None:
    short = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in names]
    upright = all(len(name) <= 2 for name in short)
    places = range(len(names))
    panel.set_xticks(places, short, fontsize=font_size, rotation=0 if upright else 90)
    panel.set_yticks(places, short, fontsize=font_size)
    panel.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(len(names) + 1) - 0.5, minor=True)
    panel.grid(which="minor", color="0.85", linewidth=0.4)
    panel.tick_params(which="minor", length=0)


def write_counts(panel: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """The number of examples in every square that has any."""
    for row, column in np.argwhere(counts):
        color = "white" if shares[row, column] > 30 else "black"
        panel.text(column, row, f"{counts[row, column]}", ha="center", va="center", fontsize=7, color=color)
