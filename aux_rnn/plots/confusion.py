"""The confusion matrix of a split as a figure, for 2 classes or for 120."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from aux_rnn.plots.style import Figure, PowerNorm

FEW = 20  # classes whose cells have room for a number
MAX_NAME_LENGTH = 32


def draw_confusion(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Draws rows of true and columns of predicted classes; the darker, the larger the share of the row.

    The counts are int [K, K], examples by true class (row) and predicted class (column).
    """
    size, is_small = len(names), len(names) <= FEW
    side = max(3.2, (0.36 if is_small else 0.13) * size)  # inches
    figure = Figure(figsize=(side + 2.2, side + 1.8), layout="constrained")
    panel = figure.subplots()
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    short = [name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…" for name in names]
    display = ConfusionMatrixDisplay(shares, display_labels=short)
    # The square root makes few mistakes visible among many right answers.
    norm = PowerNorm(0.5, 0, 100)
    display.plot(ax=panel, include_values=is_small, cmap="Greys", colorbar=False, im_kw=dict(norm=norm))
    if display.text_ is not None:
        for place, text in np.ndenumerate(display.text_):
            color = "white" if shares[place] > 30 else "black"
            text.set(text=str(counts[place] or ""), color=color, fontsize=7)
    labels, font = (8, 9) if is_small else (5.5, 13)
    panel.tick_params(labelsize=labels)
    panel.tick_params(axis="x", labelrotation=0 if max(map(len, short)) <= 2 else 90)
    panel.set_xlabel("predicted class", fontsize=font)
    panel.set_ylabel("true class", fontsize=font)
    panel.set_title(title, fontsize=font)
    bar = figure.colorbar(display.im_, ax=panel, shrink=0.6, ticks=[0, 1, 5, 20, 50, 100])
    bar.set_label("share of the true class (%)", fontsize=font)
    bar.ax.tick_params(labelsize=font - 1)
    return figure
