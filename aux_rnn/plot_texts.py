"""What a decoder recalls of texts, beside the passage itself."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from aux_rnn.plot_style import VERMILION
from aux_rnn.reconstructions import Recall

COLUMNS = ("passage to be recalled", "teacher-forced", "own output fed back")
LINE = 40  # characters
GAP = 3  # characters between columns
LINE_INCHES = 0.13
HARD_SPACE, OPEN_BOX = "\u00a0", "\u2423"


def count_lines(recall: Recall) -> int:
    """Lines of the longest passage."""
    return -(-int(recall.mask.sum(axis=-1).max(initial=1)) // LINE)


def text_height(recall: Recall) -> float:
    """Inches that all passages take one below the other, with a heading each."""
    return 0.5 + LINE_INCHES * recall.anchors.size * (count_lines(recall) + 2)


def draw_texts(part: SubFigure, recall: Recall) -> None:
    """Three columns, a block of lines for each example and anchor; bytes that differ from the passage are heavy."""
    panel = part.subplots()
    panel.set_axis_off()
    block = count_lines(recall) + 2
    panel.set(xlim=(0, len(COLUMNS) * (LINE + GAP)), ylim=(recall.anchors.size * block, -1))
    for column, name in enumerate(COLUMNS):
        panel.text(column * (LINE + GAP), -0.5, name, fontsize=7, va="bottom", weight="bold")
    blocks = np.ndindex(*recall.anchors.shape)
    for top, (example, number) in enumerate(blocks):
        heading = f"text {example + 1}, at byte {recall.anchors[example, number]:,}"
        panel.text(0, top * block, heading, fontsize=6, color="0.35", va="top")
        mask = recall.mask[example, number]
        passage = recall.targets[example, number][mask]
        for column, values in enumerate((recall.targets, recall.teacher_forced, recall.own_output)):
            place = column * (LINE + GAP), top * block + 1
            draw_passage(panel, place, values[example, number][mask], passage)


def draw_passage(panel: Axes, place: tuple[float, float], tokens: np.ndarray, passage: np.ndarray) -> None:
    """Right bytes in black, others heavy and in colour, each at the same place in its line."""
    text, is_wrong = to_text(tokens), tokens != passage
    styles = (
        (~is_wrong, text, dict(color="black")),
        (is_wrong, text.replace(" ", OPEN_BOX), dict(color=VERMILION, weight="bold")),
    )
    for is_shown, written, style in styles:
        characters = "".join(c if s else HARD_SPACE for c, s in zip(written, is_shown, strict=True))
        for number, begin in enumerate(range(0, len(characters), LINE)):
            line = characters[begin : begin + LINE].rstrip(HARD_SPACE)
            if line:
                panel.text(
                    place[0],
                    place[1] + number,
                    line,
                    family="monospace",
                    fontsize=7,
                    va="top",
                    parse_math=False,
                    **style,  # type: ignore[arg-type]
                )


def to_text(tokens: np.ndarray) -> str:
    """One character a byte: itself if it is printable ASCII, else a dot."""
    return "".join(chr(token) if 32 <= token < 127 else "·" for token in tokens)
