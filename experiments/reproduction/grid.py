"""The runs of each experiment, which their settings identify: experiments with equal runs share them."""

import hashlib
import json
import math
from collections.abc import Iterable
from itertools import product
from typing import Any

import pandas as pd

from aux_rnn.config.fields import ConfigError, format_flag
from aux_rnn.config.serialization import NOT_COMPARED, from_flat, to_flat, with_settings
from aux_rnn.config.settings import Config
from aux_rnn.datasets import sequence_spec, split_sizes, steps_per_epoch
from reproduction.models import FULL, MODELS, TRUNCATED, WITHOUT, find_model
from reproduction.presets import PRESETS, Preset

ROW = ["data", "model", "truncation"]


def make_grid(experiment: str, preset_name: str, seeds: int) -> pd.DataFrame:
    """Returns all runs of an experiment, seed by seed, so that the first runs cover every row of its table.

    Columns:
      data: name of the data set in the preset, 'recall-1024'.
      model: a name in `models.MODELS`, or of an ablation.
      truncation: 'truncated', 'full', '-' for models without one, or the number of steps as in '50'.
      seed: from 0.
      length: elements of the longest sequence.
      config: the configuration.
      key: the configuration of seed 0, which all runs of a row have in common.

    Raises ConfigError if the preset lacks the experiment.
    """
    preset, runs = PRESETS[preset_name], []
    if experiment not in preset.data:
        raise ConfigError(f"--preset={preset_name}: has no {experiment}; must be used with {', '.join(preset.data)}")
    for data, (model, truncation) in product(preset.data[experiment], list_variants(experiment, preset)):
        key = make_config(experiment, preset, data, model, truncation)
        length = sequence_spec(key.data).length
        longest = preset.longest.get(f"{model} {truncation}", preset.longest.get(model, math.inf))
        for seed in range(seeds if length <= longest else 0):
            runs.append([data, model, truncation, seed, length, with_settings(key, seed=seed), key])
    grid = pd.DataFrame(runs, columns=[*ROW, "seed", "length", "config", "key"])
    return grid.sort_values("seed", kind="stable", ignore_index=True)


def list_variants(experiment: str, preset: Preset) -> Iterable[tuple[str, str]]:
    """Returns (model, truncation) of every row of a table or point of a figure."""
    ablations = [name for name in preset.changes if name not in MODELS]
    without, lstm = [("transformer", WITHOUT)], [("lstm", TRUNCATED), ("lstm", FULL)]
    variants: dict[str, Iterable[tuple[str, str]]] = {
        "table2": [*lstm, *product(("r-lstm", "p-lstm", "both"), (TRUNCATED, FULL)), *without],
        "lengths": [*lstm, ("r-lstm", TRUNCATED), *without],
        "bptt": product(("lstm", "r-lstm", "p-lstm", "r-lstm-cut-both"), map(str, preset.truncations)),
        "curves": product(("lstm", "r-lstm", "p-lstm"), [TRUNCATED]),
        "compute": [*lstm, ("r-lstm", TRUNCATED)],
        "text": [*lstm, *product(("r-lstm", "p-lstm", "both"), [TRUNCATED]), *without],
        "ablations": product(("lstm", "r-lstm", *ablations), [WITHOUT]),
    }
    return variants[experiment]


def make_config(experiment: str, preset: Preset, data: str, model: str, truncation: str) -> Config:
    """Returns the configuration of a row for seed 0."""
    values = {**preset.data[experiment][data], **find_model(model).settings, **preset.changes.get(model, {})}
    if truncation not in (TRUNCATED, WITHOUT):
        truncated = ["supervised_truncation"]
        if model == "r-lstm-cut-both":
            truncated += ["auxiliary_truncation"]
        elif experiment != "bptt" and model != "lstm":
            truncated += ["auxiliary_truncation", "decoder_truncation"]
        values |= dict.fromkeys(truncated, FULL if truncation == FULL else int(truncation))
    # Incidental settings are neither in records nor in the flags of a run.
    config = from_flat({name: value for name, value in values.items() if name not in NOT_COMPARED})
    if experiment != "curves":
        return config
    sizes = split_sizes(config.data)
    assert sizes is not None, "presets use whole data sets"
    every = steps_per_epoch(sizes.train, config.run.batch_size)
    # One evaluation and one record of the training metrics per epoch.
    return with_settings(config, evaluate_test=True, evaluate_every_epochs=1, log_every_steps=every)


def flatten(config: Config) -> dict[str, Any]:
    """Returns all settings as they are in JSON, except incidental ones."""
    flat = json.loads(json.dumps(to_flat(config)))
    return {name: value for name, value in flat.items() if name not in NOT_COMPARED}


def changed_settings(config: Config) -> dict[str, Any]:
    """Returns the settings that differ from the defaults, as they are in JSON."""
    defaults = flatten(Config())
    return {name: value for name, value in flatten(config).items() if value != defaults[name]}


def digest_of(config: Config) -> str:
    """Returns the SHA-256 of the changed settings, which a setting that is added later does not alter."""
    return hashlib.sha256(json.dumps(changed_settings(config), sort_keys=True).encode()).hexdigest()


def folder_of(config: Config) -> str:
    """Returns the name of a run's folder, which depends on its settings only."""
    model, data = config.model, config.data.dataset
    reach = "" if model.encoder == "transformer" else f"-T{model.supervised_truncation}"
    return f"{data}-{model.encoder}-{model.auxiliary}{reach}-seed{config.run.seed}-{digest_of(config)[:8]}"


def flags_of(config: Config) -> list[str]:
    """Returns the settings of a run as flags of `main.py`."""
    named = {"dataset": config.data.dataset, "auxiliary": config.model.auxiliary, "seed": config.run.seed}
    return [format_flag(name, value) for name, value in {**named, **changed_settings(config)}.items()]
