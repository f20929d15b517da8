"""Draws docs/method-light.svg and docs/method-dark.svg: the losses of the method and how far their gradients reach."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

STEPS, ANCHOR, SEGMENT, TRUNCATION = 18, 10, 4, 3
THEMES = {
    "light": {"ink": "#1f2328", "faint": "#8c959f", "auxiliary": "#bc4c00", "supervised": "#0969da", "cell": "#eaeef2"},
    "dark": {"ink": "#e6edf3", "faint": "#7d8590", "auxiliary": "#f0883e", "supervised": "#58a6ff", "cell": "#30363d"},
}


def draw_cell(axes: Axes, x: float, y: float, colors: dict[str, str], edge: str) -> None:
    axes.add_patch(
        FancyBboxPatch((x - 0.3, y - 0.3), 0.6, 0.6, boxstyle="round,pad=0.04", fc=colors["cell"], ec=edge, lw=1.4)
    )


def draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, bend: float = 0.0) -> None:
    style = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=color, lw=1.2, connectionstyle=style)
    )


def draw_encoder(axes: Axes, colors: dict[str, str]) -> None:
    """Draws the recurrent steps; those that a gradient reaches have its color."""
    for step in range(STEPS):
        edge = colors["faint"]
        if ANCHOR - TRUNCATION < step <= ANCHOR:
            edge = colors["auxiliary"]
        elif step >= STEPS - TRUNCATION:
            edge = colors["supervised"]
        draw_cell(axes, step, 0, colors, edge)
        if step:
            draw_arrow(axes, (step - 0.66, 0), (step - 0.34, 0), edge)
    axes.text(0, -0.75, "x[0]", ha="center", va="top", color=colors["ink"])
    axes.text(ANCHOR, -0.75, "anchor a", ha="center", va="top", color=colors["ink"])
    axes.text(STEPS - 1, -0.75, "x[L-1]", ha="center", va="top", color=colors["ink"])
    axes.text(4, -0.75, "no gradient", ha="center", va="top", color=colors["faint"])


def draw_decoder(axes: Axes, colors: dict[str, str]) -> None:
    """Draws the decoder, which reconstructs the segment before the anchor from the state there."""
    first = ANCHOR - SEGMENT + 1
    for step in range(SEGMENT):
        draw_cell(axes, first + step, 2, colors, colors["auxiliary"])
        if step:
            draw_arrow(axes, (first + step - 0.66, 2), (first + step - 0.34, 2), colors["auxiliary"])
    draw_arrow(axes, (ANCHOR, 0.38), (first - 0.1, 1.62), colors["auxiliary"], bend=0.25)
    text = "reconstruct x[a-S], ..., x[a-1]"
    axes.text(first + (SEGMENT - 1) / 2, 2.55, text, ha="center", color=colors["auxiliary"])
    axes.text(ANCHOR + 0.8, 2, "auxiliary loss, T steps of gradient", va="center", color=colors["auxiliary"])


def draw_classifier(axes: Axes, colors: dict[str, str]) -> None:
    draw_arrow(axes, (STEPS - 1, 0.38), (STEPS - 1, 0.95), colors["supervised"])
    text = "supervised loss, T steps of gradient"
    axes.text(STEPS - 0.6, 1.1, text, ha="right", color=colors["supervised"])


def main() -> None:
    for theme, colors in THEMES.items():
        with mpl.rc_context({"svg.hashsalt": "aux_rnn", "font.size": 9}):
            figure = Figure(figsize=(8.4, 2.1))
            axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.8, STEPS - 0.2), ylim=(-1.25, 3.0))
            axes.set_axis_off()
            draw_encoder(axes, colors)
            draw_decoder(axes, colors)
            draw_classifier(axes, colors)
            file = Path(__file__).parent / f"method-{theme}.svg"
            figure.savefig(file, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
