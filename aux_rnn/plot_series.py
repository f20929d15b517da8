"""What a decoder recalls of sequences that are neither images nor texts, drawn over them step by step."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from aux_rnn.datasets import Examples
from aux_rnn.plot_style import BLACK, BLUE, VERMILION
from aux_rnn.reconstructions import Recall

MOST_CHANNELS = 3  # of each sequence; more would be too small to see
ROW_INCHES = 1.0
# Told apart without their colours, too.
SEQUENCE: dict[str, Any] = dict(color="0.7", linewidth=0.8, label="sequence")
ANCHOR: dict[str, Any] = dict(color="0.3", linewidth=0.8, linestyle=":", label="anchor")
LINES: tuple[dict[str, Any], ...] = (
    dict(color=BLACK, linewidth=1.4, label="segment to be recalled"),
    dict(color=BLUE, linewidth=1.2, linestyle="--", label="teacher-forced"),
    dict(color=VERMILION, linewidth=1.2, linestyle=(0, (3, 1, 1, 1)), label="own output fed back"),
)


def count_channels(recall: Recall) -> int:
    """Channels that are drawn; tokens have one."""
    return min(recall.targets.shape[-1], MOST_CHANNELS) if recall.targets.ndim == 4 else 1


def series_height(recall: Recall) -> float:
    """Inches that all rows take, with titles and legend."""
    return 0.9 + ROW_INCHES * len(recall.anchors) * count_channels(recall)


def draw_series(part: SubFigure, recall: Recall, examples: Examples) -> None:
    """A row for each example and channel, a column for each anchor.

    Args:
      part: where.
      recall: of sequences.
      examples: float32 or uint8 `[N, L, C]`, or tokens `[N, L]`.
    """
    channels = count_channels(recall)
    rows, columns = len(examples) * channels, recall.anchors.shape[1]
    panels = part.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    drawstyle = "steps-mid" if recall.targets.ndim == 3 else "default"
    for (row, column), panel in np.ndenumerate(panels):
        example, channel = divmod(row, channels)
        draw_panel(panel, recall, examples, example, column, channel, drawstyle)
    for row, panel in enumerate(panels[:, 0]):
        example, channel = divmod(row, channels)
        panel.set_ylabel(f"sequence {example + 1}\n{name_channel(recall, channel)}", fontsize=7)
    for panel in panels[-1]:
        panel.set_xlabel("step", fontsize=7)
    part.legend(handles=panels[0, 0].get_lines(), loc="outside lower center", ncols=5, frameon=False, fontsize=7)


def name_channel(recall: Recall, channel: int) -> str:
    if recall.targets.ndim == 3:
        return "token"
    count = recall.targets.shape[-1]
    return f"channel {channel + 1} of {count:,}" if count > 1 else "value"


def draw_panel(
    panel: Axes, recall: Recall, examples: Examples, example: int, number: int, channel: int, drawstyle: str
) -> None:
    """One channel of a sequence, and what is recalled of it at one anchor; steps count from its own start."""
    inputs = examples.inputs[example]
    padding = 0 if examples.lengths is None else len(inputs) - int(examples.lengths[example])
    values = inputs if inputs.ndim == 1 else inputs[:, channel] / (255 if inputs.dtype == np.uint8 else 1)
    panel.plot(np.arange(len(inputs) - padding), values[padding:], drawstyle=drawstyle, **SEQUENCE)
    mask = recall.mask[example, number]
    steps = recall.begins[example, number] - padding + np.flatnonzero(mask)
    for found, style in zip((recall.targets, recall.teacher_forced, recall.own_output), LINES, strict=True):
        recalled = found[example, number][mask]
        panel.plot(steps, recalled if recalled.ndim == 1 else recalled[:, channel], drawstyle=drawstyle, **style)
    anchor = int(recall.anchors[example, number])
    panel.axvline(anchor - 0.5, **ANCHOR)
    panel.set_title(f"at {anchor:,}", fontsize=7, pad=2)
    panel.tick_params(labelsize=6)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(3, integer=recall.targets.ndim == 3))
