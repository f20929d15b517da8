"""Rows of a report: all seeds of one data set, model and truncation, brought together."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reproduction.cells import Cell, digest_without_seed
from reproduction.paper import paper_accuracy
from reproduction.records import GAINS, Record
from reproduction.statistics import Estimate, estimate_mean

# Names as they are printed.
MODEL_NAMES = {
    "lstm": "LSTM",
    "r-lstm": "r-LSTM",
    "p-lstm": "p-LSTM",
    "both": "r- and p-LSTM",
    "transformer": "Transformer",
    "r-lstm-cut-both": "r-LSTM, both losses cut",
}


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a report.

    Attributes:
      data: as the preset names it.
      model: a name in `presets.MODELS`, or of an ablation.
      truncation: as in `Cell`.
      length: L, elements of the longest sequence.
      records: one a seed, in the order of the seeds; may be empty.
      paper: the paper's accuracy in percent, if known.
      kin: as in `Cell`: the same for lines that are the same runs.
    """

    data: str
    model: str
    truncation: str
    length: int
    records: Sequence[Record]
    paper: float | None
    kin: str

    @property
    def name(self) -> str:
        """'r-LSTM, truncated'."""
        if self.truncation == "-":
            return self.model_name
        steps = (
            f"{self.truncation} step{'s' * (self.truncation != '1')}" if self.truncation.isdigit() else self.truncation
        )
        return f"{self.model_name}, {steps}"

    @property
    def model_name(self) -> str:
        """'r-LSTM'; a row of `ablations` is called by what it changes."""
        return MODEL_NAMES.get(self.model, self.model)

    @property
    def seeds(self) -> list[int]:
        return [record["seed"] for record in self.records]

    def accuracies(self) -> list[float]:
        """Test accuracies in percent, one a seed."""
        return [100 * record["test_accuracy"] for record in self.records]

    def values(self, name: str) -> list[float]:
        """A number of every record that has it."""
        return [record[name] for record in self.records if record.get(name) is not None]

    def estimate(self, name: str = "", unit: float = 1) -> Estimate | None:
        """The mean over seeds of `unit` times a number, or of the test accuracy in percent; None without any."""
        values = [unit * value for value in self.values(name)] if name else self.accuracies()
        return estimate_mean(values) if values else None

    def gains(self) -> dict[str, Estimate]:
        """The memory gains on the test split, by name."""
        names = dict.fromkeys(k for r in self.records for k in r["results"].get("test", {}) if k.endswith(GAINS))
        found = {
            name: [r["results"]["test"][name] for r in self.records if name in r["results"]["test"]] for name in names
        }
        return {name: estimate_mean(values) for name, values in found.items()}


def make_lines(experiment: str, preset: str, cells: Iterable[Cell], records: Mapping[str, Record]) -> list[Line]:
    """The lines of a report, in the order of the grid.

    Args:
      experiment: its name.
      preset: its name.
      cells: the whole grid, of any number of seeds.
      records: by digest, of any seeds.
    """
    by_kin: dict[str, list[Record]] = {}
    for record in records.values():
        by_kin.setdefault(digest_without_seed(record["settings"]), []).append(record)
    first = {cell.row: cell for cell in reversed(list(cells))}
    lines = []
    for row, cell in reversed(first.items()):
        members = sorted(by_kin.get(cell.kin, []), key=lambda record: record["seed"])
        lines.append(Line(*row, cell.spec.length, members, paper_accuracy(experiment, preset, *row), cell.kin))
    return lines


def count_seeds(lines: Sequence[Line]) -> int:
    """Seeds that a complete table would have: up to the largest one found."""
    return 1 + max((seed for line in lines for seed in line.seeds), default=-1)


def distinct(lines: Sequence[Line], name: str) -> list[Any]:
    """The different values of an entry of all records, in the order of the lines."""
    found: list[Any] = []
    for line in lines:
        for record in line.records:
            if record[name] not in found:
                found.append(record[name])
    return found
