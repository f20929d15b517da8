"""Reconstructions of sequences that are neither images nor texts, drawn over them step by step."""

from typing import Any

import numpy as np

from aux_rnn.datasets import Examples
from aux_rnn.plots.reconstructions.samples import DecodedSegments
from aux_rnn.plots.style import BLACK, BLUE, VERMILION, MaxNLocator, SubFigure

NOTE = "steps count from the start of each sequence"
MAX_CHANNELS = 3  # drawn of each sequence; more would be too small to see
ROW_INCHES = 1.0
# Lines differ in their dashes as well as in their colours.
SEQUENCE: dict[str, Any] = dict(color="0.7", linewidth=0.8, label="sequence")
ANCHOR: dict[str, Any] = dict(color="0.3", linewidth=0.8, linestyle=":", label="anchor")
LINES: tuple[dict[str, Any], ...] = (
    dict(color=BLACK, linewidth=1.4, label="target segment"),
    dict(color=BLUE, linewidth=1.2, linestyle="--", label="teacher-forced"),
    dict(color=VERMILION, linewidth=1.2, linestyle=(0, (3, 1, 1, 1)), label="free-running"),
)


def channel_names(segments: DecodedSegments) -> list[str]:
    """Returns the names of the channels that are drawn; tokens have one."""
    if segments.targets.ndim == 3:
        return ["token"]
    count = segments.targets.shape[-1]
    names = [f"channel {number} of {count:,}" for number in range(1, count + 1)]
    return names[:MAX_CHANNELS] if count > 1 else ["value"]


def height(segments: DecodedSegments, examples: Examples) -> float:
    """Returns the inches of all rows, with titles and legend."""
    return 0.9 + ROW_INCHES * len(examples) * len(channel_names(segments))


def draw(part: SubFigure, segments: DecodedSegments, examples: Examples, permutation: np.ndarray | None) -> None:
    """Draws a row for each example and channel, and a column for each anchor; series are read in order."""
    del permutation
    names = channel_names(segments)
    is_token = names == ["token"]
    lengths = examples.lengths if examples.lengths is not None else [examples.inputs.shape[1]] * len(examples)
    rows, columns = len(examples) * len(names), segments.anchors.shape[1]
    panels = part.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    scale = 255 if examples.inputs.dtype == np.uint8 else 1
    drawstyle = "steps-mid" if is_token else "default"
    for (row, column), panel in np.ndenumerate(panels):
        example, channel = divmod(row, len(names))
        inputs, length = examples.inputs[example], int(lengths[example])
        padding, anchor = len(inputs) - length, int(segments.anchors[example, column])
        values = (inputs[padding:] if is_token else inputs[padding:, channel]) / scale
        panel.plot(np.arange(length), values, drawstyle=drawstyle, **SEQUENCE)
        mask = segments.mask[example, column]
        steps = segments.begins[example, column] - padding + np.flatnonzero(mask)
        for found, style in zip(segments[-3:], LINES, strict=True):
            decoded = found[example, column][mask]
            panel.plot(steps, decoded if is_token else decoded[:, channel], drawstyle=drawstyle, **style)
        panel.axvline(anchor - 0.5, **ANCHOR)
        panel.set_title(f"at {anchor:,}")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(3, integer=is_token))
    for row, panel in enumerate(panels[:, 0]):
        panel.set_ylabel(f"sequence {row // len(names) + 1}\n{names[row % len(names)]}")
    for panel in panels[-1]:
        panel.set_xlabel("step")
    part.legend(handles=panels[0, 0].get_lines(), loc="outside lower center", ncols=5)
