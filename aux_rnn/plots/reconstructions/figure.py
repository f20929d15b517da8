"""The figure of reconstructions: the target segment and two decodings of it, for several anchors."""

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from aux_rnn.datasets import Examples
from aux_rnn.plots.reconstructions import images as plot_images
from aux_rnn.plots.reconstructions import series as plot_series
from aux_rnn.plots.reconstructions import texts as plot_texts
from aux_rnn.plots.reconstructions.samples import DecodedSegments
from aux_rnn.plots.style import Figure

WIDTH = 8.4  # inches
TITLES = {
    "reconstruct": "reconstruction: {steps} steps before each anchor",
    "predict": "prediction: {steps} steps after each anchor",
}


def draw_reconstructions(
    decoded: Sequence[DecodedSegments],
    examples: Examples,
    title: str,
    permutation: np.ndarray | None = None,
    dropout: float = 0.0,
) -> Figure:
    """Draws one panel per decoder: rows of images, columns of text, or lines over the sequences.

    The examples are those of `decoded`. The permutation, int `[L]`, is the pixel read at each step; the dropout is the
    share of a teacher-forced decoder's inputs that is dropped.
    """
    kind = choose_kind(examples)
    heights = [kind.height(segments, examples) for segments in decoded]
    figure = Figure(figsize=(WIDTH, 0.6 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    dropped = f", {100 * dropout:.0f} % of them dropped" if dropout else ""
    figure.supxlabel(
        f"teacher-forced: from the true element before each{dropped}; {kind.NOTE}", fontsize="medium", color="0.35"
    )
    parts = figure.subfigures(len(decoded), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, segments in zip(parts, decoded, strict=True):
        steps = f"{'the' if segments.mask.all() else 'at most'} {segments.mask.shape[-1]:,}"
        part.suptitle(TITLES[segments.kind].format(steps=steps), fontsize=8, x=0.01, ha="left")
        kind.draw(part, segments, examples, permutation)
    return figure


def choose_kind(examples: Examples) -> ModuleType:
    """Returns the module that draws them: images have height and width, texts are bytes, all others are series."""
    if examples.inputs.ndim == 4:
        return plot_images
    return plot_texts if examples.inputs.ndim == 2 and examples.inputs.dtype == np.uint8 else plot_series
