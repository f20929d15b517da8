"""The grid of each experiment: which cells there are, and a machine's share of them."""

from collections.abc import Sequence
from typing import Any

from aux_rnn.settings import ConfigError
from reproduction.cells import Cell
from reproduction.presets import MODELS, PRESETS, FlagValues, Preset

TRUNCATED, FULL, WITHOUT = "truncated", "full", "-"

ARMS: dict[str, tuple[tuple[str, str], ...]] = {
    "table2": (
        *((model, reach) for model in ("lstm", "r-lstm", "p-lstm", "both") for reach in (TRUNCATED, FULL)),
        ("transformer", WITHOUT),
    ),
    "lengths": (("lstm", TRUNCATED), ("lstm", FULL), ("r-lstm", TRUNCATED), ("transformer", WITHOUT)),
    "curves": (("lstm", TRUNCATED), ("r-lstm", TRUNCATED), ("p-lstm", TRUNCATED)),
    "text": (
        ("lstm", TRUNCATED),
        ("lstm", FULL),
        *((model, TRUNCATED) for model in ("r-lstm", "p-lstm", "both")),
        ("transformer", WITHOUT),
    ),
}
BPTT_MODELS = ("lstm", "r-lstm", "p-lstm", "r-lstm-cut-both")


def list_arms(experiment: str, preset: Preset) -> list[tuple[str, str]]:
    """(model, truncation) of every curve or row of an experiment."""
    if experiment == "bptt":
        return [(model, str(steps)) for model in BPTT_MODELS for steps in preset.truncations]
    if experiment == "ablations":
        return [(model, WITHOUT) for model in ("lstm", "r-lstm", *preset.ablations)]
    return list(ARMS[experiment])


def truncation_values(model: str, truncation: str) -> FlagValues:
    """The flag values that a truncation stands for; without an auxiliary loss only the supervised one has any."""
    if truncation in (TRUNCATED, WITHOUT):
        return {}
    steps: Any = truncation if truncation == FULL else int(truncation)
    return dict(supervised_truncation=steps)


def cell_values(experiment: str, preset: Preset, data: str, model: str, truncation: str) -> dict[str, Any]:
    """All flag values of a cell but its seed."""
    base = "r-lstm" if model in preset.ablations else model
    values = {**preset.settings, **preset.data[experiment][data], **MODELS[base], **preset.models.get(base, {})}
    values.update(preset.ablations.get(model, {}))
    values.update(truncation_values(model, truncation))
    if experiment == "bptt" and model == "r-lstm-cut-both":
        values["auxiliary_truncation"] = values["supervised_truncation"]
    elif experiment != "bptt" and truncation == FULL and model != "lstm":
        values.update(auxiliary_truncation="full", decoder_truncation="full")
    if experiment == "curves":
        values.update(evaluate_test=True, evaluate_every_epochs=1)
    return values


def make_grid(experiment: str, preset_name: str, seeds: int) -> list[Cell]:
    """All cells of an experiment, one seed after the other, so that what is there first covers every row.

    Raises:
      ConfigError: a cell's settings are not allowed.
    """
    preset = PRESETS[preset_name]
    cells = []
    for data in preset.data[experiment]:
        for model, truncation in list_arms(experiment, preset):
            values = cell_values(experiment, preset, data, model, truncation)
            first = Cell(data, model, truncation, 0, values)
            first.check()
            if experiment == "curves":  # training metrics are means since the last record: one an epoch
                values = {**values, "log_every_steps": first.plan.steps_per_epoch}
                first = Cell(data, model, truncation, 0, values)
            if experiment == "lengths" and is_too_long(preset, first):
                continue
            cells += [first, *(Cell(data, model, truncation, seed, values) for seed in range(1, seeds))]
    return sorted(cells, key=lambda cell: cell.seed)


def is_too_long(preset: Preset, cell: Cell) -> bool:
    longest = preset.longest.get(f"{cell.model} {cell.truncation}", preset.longest.get(cell.model))
    return longest is not None and cell.spec.length > longest


def select_cells(cells: Sequence[Cell], datasets: Sequence[str], models: Sequence[str]) -> list[Cell]:
    """The cells of some data sets and models; empty selections take all.

    Raises:
      ConfigError: a name that the grid does not have.
    """
    for flag, wanted, known in (
        ("datasets", datasets, dict.fromkeys(cell.data for cell in cells)),
        ("models", models, dict.fromkeys(cell.model for cell in cells)),
    ):
        for name in wanted:
            if name not in known:
                raise ConfigError(f"--{flag}={','.join(wanted)}: {name!r} must be one of {', '.join(known)}")
    return [c for c in cells if (not datasets or c.data in datasets) and (not models or c.model in models)]


def distinct_runs(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of every run: rows whose settings agree share it."""
    runs: dict[str, Cell] = {}
    for cell in cells:
        runs.setdefault(cell.digest, cell)
    return list(runs.values())


def take_shard(cells: Sequence[Cell], shard: tuple[int, int]) -> list[Cell]:
    """The `i`-th of `n` shares of the distinct runs, `i` from 1: disjoint, and together everything."""
    index, count = shard
    return distinct_runs(cells)[index - 1 :: count]
