"""The figure of reconstructions: the target segment and two decodings of it, for several anchors.

Images are drawn at the places of their pixels, texts next to the passage itself, and all other sequences as lines.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aux_rnn.datasets import Examples
from aux_rnn.plots.reconstructions.samples import DecodedSegments
from aux_rnn.plots.style import BLACK, BLUE, VERMILION, Axes, Figure, MaxNLocator, SubFigure

WIDTH = 8.4  # inches
TITLES = {
    "reconstruct": "reconstruction: {steps} steps before each anchor",
    "predict": "prediction: {steps} steps after each anchor",
}
OUTSIDE = (0.80, 0.88, 0.95)  # of an image's segment: bluish, which no grey pixel is
IMAGE_ROWS = ("original", "target\nsegment", "teacher-\nforced", "free-\nrunning")
LABEL_WIDTH = 0.7  # inches
IMAGE_GAP = 0.15  # between two examples, in widths of an image
MAX_CHANNELS = 3  # drawn of each sequence; more would be too small to see
# Lines differ in their dashes as well as in their colours.
SEQUENCE: dict[str, Any] = dict(color="0.7", linewidth=0.8, label="sequence")
ANCHOR: dict[str, Any] = dict(color="0.3", linewidth=0.8, linestyle=":", label="anchor")
LINES: tuple[dict[str, Any], ...] = (
    dict(color=BLACK, linewidth=1.4, label="target segment"),
    dict(color=BLUE, linewidth=1.2, linestyle="--", label="teacher-forced"),
    dict(color=VERMILION, linewidth=1.2, linestyle=(0, (3, 1, 1, 1)), label="free-running"),
)
LINE, TEXT_GAP = 40, 3  # characters of a passage and between columns
HARD_SPACE, OPEN_BOX = "\u00a0", "\u2423"


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
    note, height, draw = choose_kind(examples)
    heights = [height(segments, examples) for segments in decoded]
    figure = Figure(figsize=(WIDTH, 0.6 + sum(heights)), layout="constrained")
    figure.suptitle(title)
    dropped = f", {100 * dropout:.0f} % of them dropped" if dropout else ""
    legend = f"teacher-forced: from the true element before each{dropped}; {note}"
    figure.supxlabel(legend, fontsize="medium", color="0.35")
    parts = figure.subfigures(len(decoded), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, segments in zip(parts, decoded, strict=True):
        steps = f"{'the' if segments.mask.all() else 'at most'} {segments.mask.shape[-1]:,}"
        part.suptitle(TITLES[segments.kind].format(steps=steps), fontsize=8, x=0.01, ha="left")
        draw(part, segments, examples, permutation)
    return figure


def choose_kind(examples: Examples) -> tuple[str, Callable[..., float], Callable[..., None]]:
    """Returns the note below the figure, the function that returns a panel's height in inches, and that draws it."""
    if examples.inputs.ndim == 4:
        return "dot: the last element read at the anchor; shaded: outside of the segment", image_height, draw_images
    if examples.inputs.ndim == 2 and examples.inputs.dtype == np.uint8:
        return "bold: a wrong byte; a dot stands for a byte that is not printable ASCII", text_height, draw_texts
    return "steps count from the start of each sequence", series_height, draw_series


def canvas_shape(height: int, width: int) -> tuple[int, int]:
    """Returns the shape an image is drawn in: its own, but a square for a single row or column of pixels."""
    if min(height, width) > 1:
        return height, width
    side = math.ceil(math.sqrt(height * width))
    return math.ceil(height * width / side), side


def image_height(segments: DecodedSegments, examples: Examples) -> float:
    rows, columns = canvas_shape(*examples.inputs.shape[1:3])
    cell = (WIDTH - LABEL_WIDTH) / segments.anchors.size
    return 0.5 + len(IMAGE_ROWS) * min(cell * rows / columns, 1.5)


def draw_images(part: SubFigure, segments: DecodedSegments, examples: Examples, permutation: np.ndarray | None) -> None:
    """Draws four rows, with a column for each example and anchor."""
    count, anchors = segments.anchors.shape
    shape = canvas_shape(*examples.inputs.shape[1:3])
    images = examples.inputs.reshape(count, -1, examples.inputs.shape[-1]) / 255
    order = np.arange(images.shape[1]) if permutation is None else permutation
    # A narrow column without panels separates the examples.
    columns = count * (anchors + 1) - 1
    widths = [IMAGE_GAP if number % (anchors + 1) == anchors else 1.0 for number in range(columns)]
    panels = part.subplots(len(IMAGE_ROWS), columns, squeeze=False, gridspec_kw=dict(width_ratios=widths))
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
    for panel, name in zip(panels[:, 0], IMAGE_ROWS, strict=True):
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


def block_lines(segments: DecodedSegments) -> int:
    """Returns the lines of the longest passage, its heading and an empty line."""
    return -(-int(segments.mask.sum(axis=-1).max(initial=1)) // LINE) + 2


def text_height(segments: DecodedSegments, examples: Examples) -> float:
    del examples
    return 0.5 + 0.13 * segments.anchors.size * block_lines(segments)


def draw_texts(part: SubFigure, segments: DecodedSegments, *_: Any) -> None:
    """Draws three columns, with a block of lines for each example and anchor; texts are read in order."""
    panel, block, width = part.subplots(), block_lines(segments), LINE + TEXT_GAP
    panel.set_axis_off()
    panel.set(xlim=(0, 3 * width), ylim=(segments.anchors.size * block, -1))
    for number, at in enumerate(np.ndindex(*segments.anchors.shape)):
        heading = f"text {at[0] + 1}, at byte {segments.anchors[at]:,}"
        panel.text(0, number * block, heading, fontsize="small", color="0.35", va="top")
        passages = [values[at][segments.mask[at]] for values in segments[-3:]]
        for column, tokens in enumerate(passages):
            write(panel, column * width, number * block + 1, tokens, tokens != passages[0])
    for column, line in enumerate(LINES):
        panel.text(column * width, -0.5, line["label"], va="bottom", weight="bold")


def write(panel: Axes, x: float, y: float, tokens: np.ndarray, is_wrong: np.ndarray) -> None:
    """Writes right bytes in black and wrong ones bold and coloured, each at its own place in its line."""
    text = to_text(tokens)
    for shown, written, color, weight in (
        (~is_wrong, text, "black", "normal"),
        (is_wrong, text.replace(" ", OPEN_BOX), VERMILION, "bold"),
    ):
        characters = "".join(c if s else HARD_SPACE for c, s in zip(written, shown, strict=True))
        for begin in range(0, len(characters), LINE):
            if line := characters[begin : begin + LINE].rstrip(HARD_SPACE):
                font: dict[str, Any] = dict(family="monospace", color=color, weight=weight)
                panel.text(x, y + begin // LINE, line, va="top", parse_math=False, **font)


def to_text(tokens: np.ndarray) -> str:
    """Returns one character per byte: itself if it is printable ASCII, else a dot."""
    return "".join(chr(token) if 32 <= token < 127 else "·" for token in tokens)


def channel_names(examples: Examples) -> list[str]:
    """Returns the names of the channels that are drawn; tokens have one."""
    if examples.inputs.ndim == 2:
        return ["token"]
    count = examples.inputs.shape[-1]
    names = [f"channel {number} of {count:,}" for number in range(1, count + 1)]
    return names[:MAX_CHANNELS] if count > 1 else ["value"]


def series_height(segments: DecodedSegments, examples: Examples) -> float:
    del segments
    return 0.9 + len(examples) * len(channel_names(examples))


def draw_series(part: SubFigure, segments: DecodedSegments, examples: Examples, *_: Any) -> None:
    """Draws a row for each example and channel, and a column for each anchor; series are read in order."""
    names, (count, length) = channel_names(examples), examples.inputs.shape[:2]
    is_token = names == ["token"]
    lengths = np.full(count, length) if examples.lengths is None else examples.lengths
    inputs = examples.inputs.reshape(count, length, -1) / (255 if examples.inputs.dtype == np.uint8 else 1)
    decoded = [values.reshape(*segments.mask.shape, -1) for values in segments[-3:]]
    columns = segments.anchors.shape[1]
    panels = part.subplots(count * len(names), columns, squeeze=False, sharex=True, sharey="row")
    drawstyle = "steps-mid" if is_token else "default"
    for (row, column), panel in np.ndenumerate(panels):
        example, channel = divmod(row, len(names))
        padding, anchor = length - int(lengths[example]), int(segments.anchors[example, column])
        sequence, mask = inputs[example, padding:, channel], segments.mask[example, column]
        panel.plot(np.arange(len(sequence)), sequence, drawstyle=drawstyle, **SEQUENCE)
        steps = segments.begins[example, column] - padding + np.flatnonzero(mask)
        for values, style in zip(decoded, LINES, strict=True):
            panel.plot(steps, values[example, column, mask, channel], drawstyle=drawstyle, **style)
        panel.axvline(anchor - 0.5, **ANCHOR)
        panel.set_title(f"at {anchor:,}")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(3, integer=is_token))
    for row, panel in enumerate(panels[:, 0]):
        panel.set_ylabel(f"sequence {row // len(names) + 1}\n{names[row % len(names)]}")
    for panel in panels[-1]:
        panel.set_xlabel("step")
    part.legend(handles=panels[0, 0].get_lines(), loc="outside lower center", ncols=5)
