"""What a decoder recalls of images, drawn where the pixels belong."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from aux_rnn.plot_style import VERMILION
from aux_rnn.reconstructions import Recall

OUTSIDE = (0.80, 0.88, 0.95)  # of the segment: bluish, which no grey pixel is
ROWS = ("original", "segment to\nbe recalled", "teacher-\nforced", "own output\nfed back")
LABEL_WIDTH, WIDTH = 0.7, 8.4  # inches
GAP = 0.15  # between two examples, in widths of an image


def canvas_shape(height: int, width: int) -> tuple[int, int]:
    """How an image is drawn: as it is, but a sequence that is no image as rows of a square."""
    if min(height, width) > 1:
        return height, width
    side = math.ceil(math.sqrt(height * width))
    return math.ceil(height * width / side), side


def image_height(recall: Recall, images: np.ndarray) -> float:
    """Inches that four rows of images take, with their titles."""
    height, width = canvas_shape(*images.shape[1:3])
    cell = (WIDTH - LABEL_WIDTH) / recall.anchors.size
    return 0.5 + len(ROWS) * min(cell * height / width, 1.5)


def draw_images(part: SubFigure, recall: Recall, images: np.ndarray, permutation: np.ndarray | None) -> None:
    """Four rows, a column for each example and anchor.

    Args:
      part: where.
      recall: of pixels.
      images: uint8 `[N, height, width, C]`.
      permutation: int `[L]`, the pixel read at each step, where they are not read in order.
    """
    count, anchors = recall.anchors.shape
    height, width, channels = images.shape[1:]
    order = np.arange(height * width) if permutation is None else permutation
    shape = canvas_shape(height, width)
    # A narrow column without panels sets the examples apart.
    columns = count * (anchors + 1) - 1
    widths = [GAP if number % (anchors + 1) == anchors else 1.0 for number in range(columns)]
    panels = part.subplots(len(ROWS), columns, squeeze=False, gridspec_kw=dict(width_ratios=widths))
    for panel in panels[:, anchors :: anchors + 1].flat:
        panel.remove()
    for example, number in np.ndindex(count, anchors):
        column = panels[:, example * (anchors + 1) + number]
        begin, mask = recall.begins[example, number], recall.mask[example, number]
        places = order[begin + np.flatnonzero(mask)]
        pixels = images[example].reshape(-1, channels) / 255
        show(column[0], paint(pixels, np.arange(len(pixels)), shape))
        for panel, values in zip(column[1:], (recall.targets, recall.teacher_forced, recall.own_output), strict=True):
            show(panel, paint(values[example, number][mask], places, shape))
        anchor = int(recall.anchors[example, number])
        row, place = divmod(int(order[max(anchor - 1, 0)]), shape[1])
        column[0].plot(place, row, "o", color=VERMILION, mec="white", mew=0.5, markersize=4)
        column[0].set_title(f"at {anchor:,}", fontsize=7, pad=2)
    for panel, name in zip(panels[:, 0], ROWS, strict=True):
        panel.set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center")


def paint(values: np.ndarray, places: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A picture `[height, width, 3]` in [0, 1] with pixels `[n, C]` at their places, int `[n]`, in row-major order.

    Values outside [0, 1] are drawn as the nearest that can be; of neither one nor three channels their mean is.
    """
    colors = values if values.shape[-1] in (1, 3) else values.mean(axis=-1, keepdims=True)
    picture = np.tile(np.array(OUTSIDE), (shape[0] * shape[1], 1))
    picture[places] = np.clip(colors, 0, 1)
    return picture.reshape(*shape, 3)


def show(panel: Axes, picture: np.ndarray) -> None:
    panel.imshow(picture, interpolation="nearest")
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)
