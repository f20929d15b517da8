"""The picture of what the decoders recall: the segment and two attempts at it, for several anchors."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from aux_rnn.datasets import Examples
from aux_rnn.plot_images import draw_images, image_height
from aux_rnn.plot_series import draw_series, series_height
from aux_rnn.plot_texts import draw_texts, text_height
from aux_rnn.reconstructions import Recall

WIDTH = 8.4  # inches
TITLES = {
    "reconstruct": "reconstruction: {steps} steps before each anchor",
    "predict": "prediction: {steps} steps after each anchor",
}
EXPLANATIONS = {
    "image": "dot: the last element read at the anchor; shaded: not asked for",
    "text": "heavy: another byte than was to be recalled; a dot stands for what is no printable ASCII",
    "series": "steps count from the start of each sequence",
}


def draw_reconstructions(
    recalls: Sequence[Recall],
    examples: Examples,
    title: str,
    permutation: np.ndarray | None = None,
    dropout: float = 0.0,
) -> Figure:
    """One panel a decoder; in it four rows of images, three columns of text, or lines over the sequences.

    Args:
      recalls: of at least one decoder.
      examples: that they are of, in the same order.
      title: above all.
      permutation: int `[L]`, the pixel read at each step, where they are not read in order.
      dropout: the share of a teacher-forced decoder's inputs that is dropped.
    """
    look = look_of(examples)
    heights = [height_of(look, recall, examples) for recall in recalls]
    figure = Figure(figsize=(WIDTH, 0.6 + sum(heights)), layout="constrained")
    figure.suptitle(title, fontsize=9)
    figure.supxlabel(explain(look, dropout), fontsize=7, color="0.35")
    parts = figure.subfigures(len(recalls), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, recall in zip(parts, recalls, strict=True):
        part.suptitle(title_of(recall), fontsize=8, x=0.01, ha="left")
        if look == "text":
            draw_texts(part, recall)
        elif look == "image":
            draw_images(part, recall, examples.inputs, permutation)
        else:
            draw_series(part, recall, examples)
    return figure


def look_of(examples: Examples) -> str:
    """What examples are drawn as: 'image' if they have height and width, 'text' if they are bytes, else 'series'."""
    if examples.inputs.ndim == 4:
        return "image"
    return "text" if examples.inputs.ndim == 2 and examples.inputs.dtype == np.uint8 else "series"


def height_of(look: str, recall: Recall, examples: Examples) -> float:
    """Inches."""
    if look == "image":
        return image_height(recall, examples.inputs)
    return text_height(recall) if look == "text" else series_height(recall)


def title_of(recall: Recall) -> str:
    steps = f"{'the' if recall.mask.all() else 'at most'} {recall.mask.shape[-1]:,}"
    return TITLES[recall.kind].format(steps=steps)


def explain(look: str, dropout: float) -> str:
    withheld = f", {100 * dropout:.0f} % of them withheld" if dropout else ""
    return f"teacher-forced: told the true element before each{withheld}; {EXPLANATIONS[look]}"
