"""The figure of each experiment: readable in grey and by the colour-blind, the same bytes for the same records."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aux_rnn.plot_style import plot_style, render
from reproduction.curves import draw_curves
from reproduction.rows import MODEL_NAMES, Line
from reproduction.styles import STYLES, draw_estimate, keep_to_percent, style_of

Draw = Callable[[Sequence[Line]], Figure]


def save_figure(path: Path, experiment: str, preset: str, lines: Sequence[Line]) -> None:
    """Writes `path` with the endings .png (200 dots an inch) and .svg (text as text).

    Args:
      path: without an ending.
      experiment: whose figure.
      preset: its name, by which the drawing's inner names are chosen.
      lines: at least one with records.
    """
    with plot_style(f"{experiment} {preset}"):
        figure = FIGURES[experiment](lines)
        for ending in ("png", "svg"):
            path.with_name(f"{path.name}.{ending}").write_bytes(render(figure, ending))


def draw_dots(lines: Sequence[Line]) -> Figure:
    """Test accuracy, a panel a data set, a line a model."""
    datasets = list(dict.fromkeys(line.data for line in lines))
    names = list(dict.fromkeys(line.name for line in lines))
    figure = Figure(figsize=(1.7 + 2.2 * max(len(datasets), 1.5), 0.9 + 0.27 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0]
    for panel, data in zip(panels, datasets, strict=True):
        for line in (line for line in lines if line.data == data):
            draw_estimate(
                panel, line, names.index(line.name), STYLES.get(line.model, STYLES["r-lstm"]), across=True, aside=0.24
            )
        panel.set_title(data)
        panel.set_xlabel("test accuracy (%)")
        keep_to_percent(panel, across=True)
        panel.grid(axis="x", color="0.9")
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    add_key(figure, lines)
    return figure


def draw_lengths(lines: Sequence[Line]) -> Figure:
    """Accuracy, seconds a step and peak memory against the length, on logarithmic axes."""
    figure = Figure(figsize=(9.6, 3.1), layout="constrained")
    panels = figure.subplots(1, 3)
    arms = list(dict.fromkeys((line.model, line.truncation) for line in lines))
    measures = (
        ("", "test accuracy (%)"),
        ("seconds_per_step", "seconds a step"),
        ("peak_memory_mib", "peak memory (MiB)"),
    )
    for panel, (name, label) in zip(panels, measures, strict=True):
        for model, truncation in arms:
            members = [line for line in lines if (line.model, line.truncation) == (model, truncation) and line.records]
            members = [line for line in members if line.estimate(name) is not None]
            for line in members:
                draw_estimate(panel, line, line.length, style_of(line), name=name)
            draw_mean(panel, members, [line.length for line in members], name)
        panel.set(
            xscale="log", yscale="log" if name else "linear", xlabel="length of the sequence (steps)", ylabel=label
        )
        if not name:
            keep_to_percent(panel)
        set_length_ticks(panel, sorted({line.length for line in lines}))
        panel.grid(color="0.9")
    add_legend(figure, [next(line for line in lines if (line.model, line.truncation) == arm) for arm in arms])
    add_key(figure, lines)
    return figure


def set_length_ticks(panel: Axes, lengths: Sequence[int]) -> None:
    """Ticks at the lengths themselves; labels at every second one where there are many."""
    labels = [
        f"{length:,}" if (len(lengths) - 1 - k) % 2 == 0 or len(lengths) < 5 else "" for k, length in enumerate(lengths)
    ]
    panel.set_xticks(lengths, labels)
    panel.tick_params(axis="x", labelrotation=45)
    panel.minorticks_off()


def draw_truncations(lines: Sequence[Line]) -> Figure:
    """Test accuracy against the reach of the supervised gradient, with no reach and no cut set apart."""
    datasets = list(dict.fromkeys(line.data for line in lines))
    figure = Figure(figsize=(6.4, 0.7 + 3.2 * len(datasets)), layout="constrained")
    places = place_truncations([line.truncation for line in lines])
    models = list(dict.fromkeys(line.model for line in lines))
    width = max(places.values()) - min(places.values())
    for panel, data in zip(figure.subplots(len(datasets), 1, squeeze=False)[:, 0], datasets, strict=True):
        for model in models:
            members = [line for line in lines if (line.data, line.model) == (data, model)]
            dodge = width * 0.011 * (models.index(model) - (len(models) - 1) / 2)
            for line in members:
                draw_estimate(panel, line, places[line.truncation] + dodge, STYLES[line.model])
            inner = [line for line in members if line.truncation not in ("0", "full") and line.records]
            draw_mean(panel, inner, [places[line.truncation] + dodge for line in inner], "")
        panel.set_xticks(list(places.values()), [{"0": "0\n(none)"}.get(steps, steps) for steps in places])
        panel.set(xlabel="reach of the supervised gradient (steps)", ylabel="test accuracy (%)", title=data)
        panel.grid(axis="y", color="0.9")
        keep_to_percent(panel)
    add_legend(figure, [next(line for line in lines if line.model == model) for model in models], with_truncation=False)
    add_key(figure, lines)
    return figure


def place_truncations(truncations: Sequence[str]) -> dict[str, float]:
    """Where truncations are drawn: whole numbers by their logarithm, '0' and 'full' apart at the ends."""
    steps = sorted({int(t) for t in truncations if t.isdigit() and t != "0"})
    if not steps:
        return {t: float(k) for k, t in enumerate(dict.fromkeys(truncations))}
    first, last = math.log(steps[0]), math.log(steps[-1])
    gap = max(0.16 * (last - first), 0.5)
    places = {"0": first - gap, **{str(t): math.log(t) for t in steps}, "full": last + gap}
    return {t: place for t, place in places.items() if t in truncations}


def draw_mean(panel: Axes, lines: Sequence[Line], places: Sequence[float], name: str) -> None:
    """The line through the means."""
    if lines:
        style = style_of(lines[0])
        means = [estimate.mean for line in lines if (estimate := line.estimate(name)) is not None]
        panel.plot(places, means, color=style.color, linestyle=style.linestyle, linewidth=1.2, zorder=2)


def add_legend(figure: Figure, lines: Sequence[Line], with_truncation: bool = True) -> None:
    handles = []
    for line in lines:
        style = style_of(line) if with_truncation else STYLES[line.model]
        name = line.name if with_truncation else MODEL_NAMES[line.model]
        marks = dict(color=style.color, marker=style.marker, linestyle=style.linestyle, markersize=5)
        handles.append(Line2D([], [], label=name, **marks))  # type: ignore[arg-type]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 4), frameon=False)


def add_key(figure: Figure, lines: Sequence[Line]) -> None:
    """Says what the marks are."""
    text = "filled: mean of the seeds, 95 % interval; faint: single seeds"
    if any(line.paper is not None for line in lines):
        text += "; hollow: the paper"
    figure.supxlabel(text, fontsize=7, color="0.35")


FIGURES: dict[str, Draw] = {
    "table2": draw_dots,
    "lengths": draw_lengths,
    "bptt": draw_truncations,
    "curves": draw_curves,
    "text": draw_dots,
    "ablations": draw_dots,
}
