"""The models of the experiments, with what tables and figures show of each."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aux_rnn.plots.style import BLACK, BLUE, GREEN, PURPLE, SKY, VERMILION

TRUNCATED, FULL, WITHOUT = "truncated", "full", "-"
# Data sets of table 2 of Trinh, Dai, Luong and Le (2018), and its test accuracies in percent: single runs, truncated
# after 300 steps. Some versions of the paper lack the Transformer's row.
PAPER_DATA = ("mnist", "pmnist", "cifar10")
LSTM = {TRUNCATED: (11.3, 88.8, 49.0), FULL: (98.3, 89.4, 58.8)}
R_LSTM = {TRUNCATED: (96.4, 92.8, 65.9), FULL: (98.4, 95.2, 72.2)}
P_LSTM = {TRUNCATED: (95.4, 92.5, 64.7), FULL: (98.0, 92.8, 67.6)}
TRANSFORMER = {WITHOUT: (98.9, 97.9, 62.2)}


class Model(NamedTuple):
    """A model: its name in tables and figures, the style of its line, its settings, and the paper's accuracies."""

    name: str
    color: str
    marker: str
    linestyle: str
    settings: Mapping[str, Any]
    paper: Mapping[str, Sequence[float]]


MODELS = {
    "lstm": Model("LSTM", BLACK, "o", "-", dict(auxiliary="none"), LSTM),
    "r-lstm": Model("r-LSTM", BLUE, "s", "-", dict(auxiliary="reconstruct"), R_LSTM),
    "p-lstm": Model("p-LSTM", VERMILION, "^", "-", dict(auxiliary="predict"), P_LSTM),
    "both": Model("r- and p-LSTM", GREEN, "P", "-", dict(auxiliary="both"), {}),
    "transformer": Model("Transformer", PURPLE, "v", "-.", dict(encoder="transformer", auxiliary="none"), TRANSFORMER),
    # In bptt: both losses are truncated after the same number of steps.
    "r-lstm-cut-both": Model("r-LSTM, both losses truncated", SKY, "X", ":", dict(auxiliary="reconstruct"), {}),
}


def find_model(name: str) -> Model:
    """Returns a model, or the r-LSTM under the name of an ablation."""
    return MODELS.get(name) or MODELS["r-lstm"]._replace(name=name)


def add_truncation(name: str, truncation: str) -> str:
    """Returns 'r-LSTM, truncated', 'r-LSTM, full', 'r-LSTM, 50 steps' or, without a truncation, the name alone."""
    steps = f"{truncation} step{'s' * (truncation != '1')}" if truncation.isdigit() else truncation
    return name if truncation == WITHOUT else f"{name}, {steps}"


def style_row(model: str, truncation: str) -> dict[str, str]:
    """Returns the color, marker and dashes of a line."""
    _, color, marker, linestyle, *_ = find_model(model)
    marker, linestyle = ("D", "--") if truncation == FULL else (marker, linestyle)
    return dict(color=color, marker=marker, linestyle=linestyle)


def paper_accuracy(experiment: str, data: str, model: str, truncation: str) -> float:
    """Returns the paper's accuracy for a row of a report, NaN if it has none."""
    row = find_model(model).paper.get(truncation, ()) if experiment in ("table2", "curves") else ()
    return dict(zip(PAPER_DATA, row, strict=False)).get(data, math.nan)
