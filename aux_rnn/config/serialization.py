"""Conversion of configurations to and from flat dictionaries and JSON, and their comparison."""

import dataclasses
import difflib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from aux_rnn.config.fields import ConfigError, format_value
from aux_rnn.config.settings import CELLS, Config, DataConfig

# A run may be continued with other locations of its files, with or without figures, and dispatched in another way.
PATH_SETTINGS = ("data_dir", "manual_dir")
DISPATCH = ("data_on_device", "steps_per_dispatch")  # but the processes of a run must have the same
NOT_COMPARED = (*PATH_SETTINGS, "allow_partial", "pictures", *DISPATCH)
INTERVALS = ("log_every_steps", "checkpoint_every_steps")  # may change when a run is continued

GROUPS: Mapping[str, type] = {field.name: type(field.default) for field in dataclasses.fields(Config)}


def iterate_settings() -> Iterator[tuple[str, dataclasses.Field]]:
    """Yields every setting as (group, field), in order; a field's name is unique over all groups."""
    for group, cls in GROUPS.items():
        for field in dataclasses.fields(cls):
            yield group, field


def from_flat(values: Mapping[str, Any]) -> Config:
    """Builds a configuration from `{name: value}`; missing settings take their defaults. Raises ConfigError."""
    grouped: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    owner = {field.name: group for group, field in iterate_settings()}
    for name, value in values.items():
        if name not in owner:
            guess = "".join(f"; did you mean {near}?" for near in difflib.get_close_matches(str(name), owner, 1))
            raise ConfigError(f"{name}: no such setting{guess or '; the settings are ' + ', '.join(sorted(owner))}")
        grouped[owner[name]][name] = value
    return Config(**{group: GROUPS[group](**members) for group, members in grouped.items()})


def to_flat(config: Config) -> dict[str, Any]:
    """Returns `{name: value}`, the inverse of `from_flat`."""
    return {field.name: getattr(getattr(config, group), field.name) for group, field in iterate_settings()}


def with_settings(config: Config, **settings: Any) -> Config:
    """Returns the configuration with some settings changed. Raises ConfigError as `from_flat` does."""
    return from_flat({**to_flat(config), **settings})


def with_data_paths(config: Config, data: DataConfig) -> Config:
    """Returns the configuration with the locations of the other one, which may also allow a part of the data."""
    located = {name: getattr(data, name) for name in PATH_SETTINGS}
    return with_settings(config, **located, allow_partial=config.data.allow_partial or data.allow_partial)


def to_json(config: Config) -> str:
    """Formats a configuration as the content of `config.json`; a cell of the program is written as its name."""
    return json.dumps(to_flat(config), indent=2, default=format_value) + "\n"


def from_json(text: str) -> Config:
    """Parses the content of `config.json`. Raises ConfigError, or ValueError for what is not a JSON object."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("the configuration is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("the configuration must be a JSON object")
    return from_flat(values)


def diff_configs(old: Config, new: Config, ignored: Collection[str] = NOT_COMPARED) -> str:
    """Returns 'name: old -> new' for every setting that differs and is not ignored; empty if none does."""
    before, after = to_flat(old), to_flat(new)
    names = [name for name in after if before[name] != after[name] and name not in ignored]
    changes = [(name, format_value(before[name]), format_value(after[name])) for name in names]
    # A cell of the program equals its name in the file.
    return ", ".join(f"{name}: {was} -> {now}" for name, was, now in changes if name != "encoder" or was != now)


def name_model(config: Config) -> str:
    """Returns the paper's name of the model: 'LSTM', 'r-LSTM', 'p-LSTM'; 'r-p-LSTM' with both losses."""
    prefix = "".join(f"{kind[0]}-" for kind in config.model.auxiliaries)
    name = format_value(config.model.encoder).rpartition(".")[2]
    return prefix + CELLS.get(name, name[:1].upper() + name[1:]).removesuffix("Cell")
