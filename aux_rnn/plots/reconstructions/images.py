"""Reconstructions of images, drawn at the places of their pixels."""

import math

import numpy as np

from aux_rnn.datasets import Examples
from aux_rnn.plots.reconstructions.samples import DecodedSegments
from aux_rnn.plots.style import VERMILION, Axes, SubFigure

NOTE = "dot: the last element read at the anchor; shaded: outside of the segment"
OUTSIDE = (0.80, 0.88, 0.95)  # of the segment: bluish, which no grey pixel is
ROWS = ("original", "target\nsegment", "teacher-\nforced", "free-\nrunning")
LABEL_WIDTH, WIDTH = 0.7, 8.4  # inches
GAP = 0.15  # between two examples, in widths of an image


def canvas_shape(height: int, width: int) -> tuple[int, int]:
    """Returns the shape an image is drawn in: its own, but a square for a single row or column of pixels."""
    if min(height, width) > 1:
        return height, width
    side = math.ceil(math.sqrt(height * width))
    return math.ceil(height * width / side), side


def height(segments: DecodedSegments, examples: Examples) -> float:
    """Returns the inches of the rows and their titles."""
    rows, columns = canvas_shape(*examples.inputs.shape[1:3])
    cell = (WIDTH - LABEL_WIDTH) / segments.anchors.size
    return 0.5 + len(ROWS) * min(cell * rows / columns, 1.5)


def draw(part: SubFigure, segments: DecodedSegments, examples: Examples, permutation: np.ndarray | None) -> None:
    """Draws four rows, with a column for each example and anchor."""
    count, anchors = segments.anchors.shape
    shape = canvas_shape(*examples.inputs.shape[1:3])
    images = examples.inputs.reshape(count, -1, examples.inputs.shape[-1]) / 255
    order = np.arange(images.shape[1]) if permutation is None else permutation
    # A narrow column without panels separates the examples.
    columns = count * (anchors + 1) - 1
    widths = [GAP if number % (anchors + 1) == anchors else 1.0 for number in range(columns)]
    panels = part.subplots(len(ROWS), columns, squeeze=False, gridspec_kw=dict(width_ratios=widths))
    for panel in panels[:, anchors :: anchors + 1].flat:
        panel.remove()
    for example, number in np.ndindex(count, anchors):
        first, *others = panels[:, example * (anchors + 1) + number]
        mask, anchor = segments.mask[example, number], int(segments.anchors[example, number])
        places = order[segments.begins[example, number] + np.flatnonzero(mask)]
        show(first, paint(images[example], np.arange(len(order)), shape))
        for panel, values in zip(others, segments[-3:], strict=True):
            show(panel, paint(values[example, number][mask], places, shape))
        row, column = divmod(int(order[max(anchor - 1, 0)]), shape[1])
        first.plot(column, row, "o", color=VERMILION, mec="white", mew=0.5, markersize=4)
        first.set_title(f"at {anchor:,}")
    for panel, name in zip(panels[:, 0], ROWS, strict=True):
        panel.set_ylabel(name, rotation=0, ha="right", va="center")


def paint(values: np.ndarray, places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns an image `[height, width, 3]` in [0, 1] with pixels `[n, C]` at places int `[n]` in row-major order.

    Values are clipped to [0, 1]; unless there are one or three channels, their mean is drawn.
    """
    colors = values if values.shape[-1] in (1, 3) else values.mean(axis=-1, keepdims=True)
    image = np.tile(np.array(OUTSIDE), (shape[0] * shape[1], 1))
    image[places] = np.clip(colors, 0, 1)
    return image.reshape(*shape, 3)


def show(panel: Axes, image: np.ndarray) -> None:
    panel.imshow(image, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
