"""Colours, markers and line styles by model; how a mean with its seeds is drawn."""

import dataclasses
from typing import NamedTuple

from matplotlib.axes import Axes

from aux_rnn.plot_style import BLACK, BLUE, GREEN, PURPLE, SKY, VERMILION
from reproduction.rows import Line


class Style(NamedTuple):
    """How a model is drawn."""

    color: str
    marker: str
    linestyle: str


# Markers and lines differ as well as colours.
STYLES = {
    "lstm": Style(BLACK, "o", "-"),
    "r-lstm": Style(BLUE, "s", "-"),
    "p-lstm": Style(VERMILION, "^", "-"),
    "both": Style(GREEN, "P", "-"),
    "transformer": Style(PURPLE, "v", "-."),
    "r-lstm-cut-both": Style(SKY, "X", ":"),
}


def style_of(line: Line) -> Style:
    """The model's style; another marker and a broken line without a cut, where the same model has both in one panel."""
    style = STYLES[line.model]
    return style._replace(marker="D", linestyle="--") if line.truncation == "full" else style


@dataclasses.dataclass(frozen=True)
class Axis:
    """Puts (place, value) on a panel, values going up or across."""

    panel: Axes
    across: bool

    def plot(self, places: list[float], values: list[float], **style: object) -> None:
        x, y = (values, places) if self.across else (places, values)
        self.panel.plot(x, y, linestyle="none", **style)  # type: ignore[arg-type]

    def interval(self, place: float, value: float, half: float, color: str) -> None:
        x, y = (value, place) if self.across else (place, value)
        ends = {"xerr" if self.across else "yerr": half}
        self.panel.errorbar(x, y, **ends, color=color, linewidth=1, capsize=2, zorder=3)  # type: ignore[arg-type]


def keep_to_percent(panel: Axes, across: bool = False) -> None:
    """Ends an axis of accuracies at 0 and 100, however far the interval of two or three seeds goes."""
    low, high = panel.get_xlim() if across else panel.get_ylim()
    (panel.set_xlim if across else panel.set_ylim)(max(low, -1), min(high, 101))


def draw_estimate(
    panel: Axes, line: Line, place: float, style: Style, name: str = "", across: bool = False, aside: float = 0.0
) -> None:
    """The seeds as faint points, their mean with its interval, and the paper's value as a hollow marker.

    Args:
      panel: where.
      line: what; one without records is drawn as far as the paper has a value.
      place: on the other axis.
      style: of the model.
      name: the number of a record; empty for the test accuracy in percent.
      across: whether values are on the horizontal axis.
      aside: how far from `place` the single seeds are drawn.
    """
    axis, estimate = Axis(panel, across), line.estimate(name)
    if line.paper is not None and not name:
        axis.plot([place], [line.paper], marker=style.marker, mfc="white", mec=style.color, markersize=5.5, zorder=3.5)
    if estimate is None:
        return
    values = line.values(name) if name else line.accuracies()
    if len(values) > 1:
        seeds = dict(marker=style.marker, mfc=style.color, mec="none", markersize=3.5, alpha=0.3, zorder=2)
        axis.plot([place + aside] * len(values), values, **seeds)
    if estimate.half is not None:
        axis.interval(place, estimate.mean, estimate.half, style.color)
    axis.plot([place], [estimate.mean], marker=style.marker, color=style.color, markersize=4.5, zorder=4)
