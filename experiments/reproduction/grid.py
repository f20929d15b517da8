"""The runs of each experiment."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

from aux_rnn.config.fields import ConfigError, format_flag
from aux_rnn.config.serialization import NOT_COMPARED, from_flat, to_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets import divide_examples, find_dataset, sequence_spec, steps_per_epoch
from reproduction.presets import MODELS, PRESETS, Preset

EXPERIMENTS = {  # with the title of the report
    "table2": "Test accuracy by data set, model and truncation (the paper's table 2)",
    "lengths": "Accuracy, time and memory by sequence length",
    "bptt": "Test accuracy by truncation of the supervised gradient",
    "curves": "Training and test curves",
    "compute": "Validation accuracy by the cost of training",
    "text": "Text by character",
    "ablations": "Which parts of the auxiliary loss matter",
}
TRUNCATED, FULL, WITHOUT = "truncated", "full", "-"


@dataclasses.dataclass(frozen=True)
class GridRun:
    """A run of a grid. Runs of two experiments with the same settings are the same run.

    Attributes:
      data: name of the data set in the preset, 'recall-1024'.
      model: a name in `presets.MODELS`, or of an ablation.
      truncation: 'truncated', 'full', '-' for models without one, or the number of steps as in '50'.
      length: L, elements of its longest sequence.
    """

    data: str
    model: str
    truncation: str
    seed: int
    config: Config
    length: int

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.data, self.model, self.truncation) if part != WITHOUT)

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as they are in JSON."""
        defaults = flatten(Config())
        return {name: value for name, value in flatten(self.config).items() if value != defaults[name]}

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.settings)

    @property
    def folder(self) -> str:
        """Name of the run's folder, which depends on its settings only."""
        model, data = self.config.model, self.config.data.dataset
        reach = "" if model.encoder == "transformer" else f"-T{model.supervised_truncation}"
        return f"{data}-{model.encoder}-{model.auxiliary}{reach}-seed{self.seed}-{self.digest[:8]}"

    def flags(self) -> list[str]:
        """Returns the settings as flags of `main.py`."""
        named = {name: flatten(self.config)[name] for name in ("dataset", "auxiliary", "seed")}
        return [format_flag(name, value) for name, value in {**named, **self.settings}.items()]


def flatten(config: Config) -> dict[str, Any]:
    """Returns all settings as they are in JSON, except incidental ones."""
    flat = json.loads(json.dumps(to_flat(config)))
    return {name: value for name, value in flat.items() if name not in NOT_COMPARED}


def digest_of(settings: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of settings that differ from the defaults, so that new settings do not change old digests."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def key_of(settings: Mapping[str, Any]) -> str:
    """Returns the digest without the seed, the same for all seeds of a row."""
    return digest_of({name: value for name, value in settings.items() if name != "seed"})


def make_grid(experiment: str, preset_name: str, seeds: int) -> list[GridRun]:
    """Returns all runs of an experiment, seed by seed, so that the first runs cover every row.

    Raises ConfigError if the preset lacks the experiment.
    """
    preset = PRESETS[preset_name]
    if experiment not in preset.data:
        raise ConfigError(f"--preset={preset_name}: has no {experiment}; must be used with {', '.join(preset.data)}")
    grid = []
    for data, (model, truncation) in product(preset.data[experiment], list_variants(experiment, preset)):
        values = make_values(experiment, preset, data, model, truncation)
        length = sequence_spec(from_flat(values).data).length
        longest = preset.longest.get(f"{model} {truncation}", preset.longest.get(model, length))
        for seed in range(seeds if length <= longest else 0):
            grid.append(GridRun(data, model, truncation, seed, from_flat({**values, "seed": seed}), length))
    return sorted(grid, key=lambda run: run.seed)


def list_variants(experiment: str, preset: Preset) -> Iterable[tuple[str, str]]:
    """Returns (model, truncation) of every row of a table or point of a figure."""
    without, lstm = [("transformer", WITHOUT)], [("lstm", TRUNCATED), ("lstm", FULL)]
    variants: dict[str, Iterable[tuple[str, str]]] = {
        "table2": [*lstm, *product(("r-lstm", "p-lstm", "both"), (TRUNCATED, FULL)), *without],
        "lengths": [*lstm, ("r-lstm", TRUNCATED), *without],
        "bptt": product(("lstm", "r-lstm", "p-lstm", "r-lstm-cut-both"), map(str, preset.truncations)),
        "curves": product(("lstm", "r-lstm", "p-lstm"), [TRUNCATED]),
        "compute": [*lstm, ("r-lstm", TRUNCATED)],
        "text": [*lstm, *product(("r-lstm", "p-lstm", "both"), [TRUNCATED]), *without],
        "ablations": product(("lstm", "r-lstm", *preset.ablations), [WITHOUT]),
    }
    return variants[experiment]


def make_values(experiment: str, preset: Preset, data: str, model: str, truncation: str) -> dict[str, Any]:
    """Returns the flag values of a row."""
    base = "r-lstm" if model in preset.ablations else model
    values = {**preset.data[experiment][data], **MODELS[base], **preset.models.get(base, {})}
    values.update(preset.ablations.get(model, {}))
    if truncation not in (TRUNCATED, WITHOUT):
        values["supervised_truncation"] = truncation if truncation == FULL else int(truncation)
    if experiment == "bptt" and model == "r-lstm-cut-both":
        values["auxiliary_truncation"] = values["supervised_truncation"]
    elif experiment != "bptt" and truncation == FULL and model != "lstm":
        values.update(auxiliary_truncation=FULL, decoder_truncation=FULL)
    if experiment == "curves":  # one evaluation and one record of the training metrics per epoch
        values.update(evaluate_test=True, evaluate_every_epochs=1)
        values["log_every_steps"] = count_steps_per_epoch(from_flat(values))
    return values


def count_steps_per_epoch(config: Config) -> int:
    published = find_dataset(config.data)
    sizes = divide_examples(config.data, published.train_examples, published.test_examples)
    return steps_per_epoch(sizes.train, config.run.batch_size)


def select_runs(grid: list[GridRun], shard: tuple[int, int]) -> list[GridRun]:
    """Returns the distinct runs of a grid, of equal ones the first, and of these every n-th for shard (i, n)."""
    distinct: dict[str, GridRun] = {}
    for run in grid:
        distinct.setdefault(run.digest, run)
    index, count = shard
    return list(distinct.values())[index - 1 :: count]
