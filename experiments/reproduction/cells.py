"""A cell: one run of a grid, known by its settings."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aux_rnn.config import INCIDENTAL, Config, SequenceSpec, check_sequence, from_flat, to_flat
from aux_rnn.datasets import divide_examples, find_dataset, sequence_spec, split_sizes, steps_per_epoch
from aux_rnn.plan import Plan
from aux_rnn.settings import ConfigError, format_flag

Row = tuple[str, str, str]  # data set, model, truncation: what a line of a report is about


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid. Cells of two experiments whose settings agree are the same run.

    Attributes:
      data: the data set as the preset names it, 'recall-1024'.
      model: a name in `presets.MODELS`.
      truncation: 'truncated', 'full', '-' for models without, or the steps as in '50'.
      seed: of everything.
      values: flag values; what is missing takes its default.
    """

    data: str
    model: str
    truncation: str
    seed: int
    values: Mapping[str, Any]

    @property
    def row(self) -> Row:
        return self.data, self.model, self.truncation

    @functools.cached_property
    def config(self) -> Config:
        """Raises ConfigError."""
        return from_flat({**self.values, "seed": self.seed})

    @functools.cached_property
    def spec(self) -> SequenceSpec:
        return sequence_spec(self.config.data)

    @functools.cached_property
    def plan(self) -> Plan:
        """With the published sizes where the user may have a part of the data."""
        data, published = self.config.data, find_dataset(self.config.data)
        sizes = split_sizes(data) or divide_examples(data, published.train_examples, published.test_examples)
        return Plan.of(self.config, steps_per_epoch(sizes.train, self.config.run.batch_size))

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        return changed_settings(self.config)

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.settings)

    @functools.cached_property
    def kin(self) -> str:
        """What the digest would be but for the seed: the same for all seeds of a row."""
        return digest_without_seed(self.settings)

    @property
    def folder(self) -> str:
        """Name of the run's folder. It says what is run and not for which experiment."""
        model, data = self.config.model, self.config.data.dataset
        reach = "" if model.encoder == "transformer" else f"-T{model.supervised_truncation}"
        return f"{data}-{model.encoder}-{model.auxiliary}{reach}-seed{self.seed}-{self.digest[:8]}"

    def check(self) -> None:
        """Raises ConfigError, naming the cell, if the run would be refused for its settings."""
        try:
            check_sequence(self.config, self.spec)
            _ = self.plan
        except ConfigError as error:
            raise ConfigError(f"{' '.join(self.row)}, seed {self.seed}: {error}") from error

    def flags(self) -> list[str]:
        """The settings on the command line of `main.py`."""
        named = {"dataset": self.config.data.dataset, "auxiliary": self.config.model.auxiliary, "seed": self.seed}
        return [format_flag(name, value) for name, value in {**named, **self.settings}.items()]


def changed_settings(config: Config) -> dict[str, Any]:
    """The settings that differ from the defaults, apart from what is incidental; tuples as lists, as JSON has them."""
    defaults = to_flat(Config())
    changed = {k: v for k, v in to_flat(config).items() if v != defaults[k] and k not in INCIDENTAL}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in changed.items()}


def digest_of(settings: Mapping[str, Any]) -> str:
    """SHA-256 over settings that differ from the defaults: a setting that is new in config.py changes no digest."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def digest_without_seed(settings: Mapping[str, Any]) -> str:
    return digest_of({name: value for name, value in settings.items() if name != "seed"})
