"""Reconstructions of texts, next to the passage itself."""

from typing import Any

import numpy as np

from aux_rnn.datasets import Examples
from aux_rnn.plots.reconstructions.samples import DecodedSegments
from aux_rnn.plots.style import VERMILION, Axes, SubFigure

NOTE = "bold: a wrong byte; a dot stands for a byte that is not printable ASCII"
COLUMNS = ("target segment", "teacher-forced", "free-running")
LINE = 40  # characters
GAP = 3  # characters between columns
LINE_INCHES = 0.13
HARD_SPACE, OPEN_BOX = "\u00a0", "\u2423"


def block_lines(segments: DecodedSegments) -> int:
    """Returns the lines of the longest passage, its heading and an empty line."""
    return -(-int(segments.mask.sum(axis=-1).max(initial=1)) // LINE) + 2


def height(segments: DecodedSegments, examples: Examples) -> float:
    """Returns the inches of all passages."""
    return 0.5 + LINE_INCHES * segments.anchors.size * block_lines(segments)


def draw(part: SubFigure, segments: DecodedSegments, examples: Examples, permutation: np.ndarray | None) -> None:
    """Draws three columns, with a block of lines for each example and anchor; texts are read in order."""
    del examples, permutation
    panel, block = part.subplots(), block_lines(segments)
    panel.set_axis_off()
    panel.set(xlim=(0, len(COLUMNS) * (LINE + GAP)), ylim=(segments.anchors.size * block, -1))
    for column, name in enumerate(COLUMNS):
        panel.text(column * (LINE + GAP), -0.5, name, va="bottom", weight="bold")
    for number, at in enumerate(np.ndindex(*segments.anchors.shape)):
        heading = f"text {at[0] + 1}, at byte {segments.anchors[at]:,}"
        panel.text(0, number * block, heading, fontsize="small", color="0.35", va="top")
        target, *outputs = (values[at][segments.mask[at]] for values in segments[-3:])
        for column, tokens in enumerate((target, *outputs)):
            write(panel, column * (LINE + GAP), number * block + 1, tokens, tokens != target)


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
