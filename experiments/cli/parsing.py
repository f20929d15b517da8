"""Flags made from dataclass fields, and command lines.

absl reports mistakes in two lines and accepts positional arguments silently; here every mistake is one line.
"""

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from aux_rnn.config.fields import ConfigError, Count, Encoder, Truncation, format_value
from aux_rnn.config.serialization import iterate_settings
from cli.flag_files import FLAG_FILES, expand_flag_files
from cli.tables import format_entry

SETTINGS = [field for _, field in iterate_settings()]


class SettingParser(flags.ArgumentParser):
    """Converts the text of a flag to the value of a setting, and checks it."""

    def __init__(self, field: dataclasses.Field) -> None:
        super().__init__()
        self._type: Any = field.type
        self._allowed = field.metadata["allowed"]

    def parse(self, argument: Any) -> Any:
        with contextlib.suppress(ValueError):
            value = self._convert(argument) if isinstance(argument, str) else argument
            if self._allowed.accepts(value):
                return value
        raise ValueError(f"must be {self._allowed.phrase}")

    def _convert(self, text: str) -> Any:
        if self._type == tuple[int, ...]:
            return tuple(int(part) for part in text.split(","))
        if self._type in (Truncation, Count):
            return text if text.isalpha() else int(text)
        return text if self._type is Encoder else self._type(text)


class SettingSerializer(flags.ArgumentSerializer):
    """Writes the value of a setting as in a flag file."""

    def serialize(self, value: Any) -> str:
        return format_value(value)


def define_settings(fields: Iterable[dataclasses.Field], into: flags.FlagValues) -> None:
    """Defines a flag for every field, which `setting` made."""
    for field in fields:
        name, default, text = field.name, field.default, field.metadata["help"]
        if field.type is bool:
            flags.DEFINE_boolean(name, bool(default), text, flag_values=into)
        else:
            flags.DEFINE(SettingParser(field), name, default, text, into, SettingSerializer())


def parse_words(argv: Sequence[str], into: flags.FlagValues) -> list[str]:
    """Parses a command line into any flags; returns the positional arguments, without the program's name."""
    argv = [argv[0], *expand_flag_files(argv[1:], [Path.cwd(), FLAG_FILES])]
    try:
        return into(argv)[1:]
    except (flags.Error, ValueError) as error:  # the latter from some of absl's own flags
        text = str(error).strip().removeprefix("flag ")
        raise ConfigError(re.sub(r"\('Non-boolean argument.*", "must be true or false", text)) from error


def parse_options(
    argv: Sequence[str], description: str, shown: Iterable[dataclasses.Field], others: Iterable[dataclasses.Field] = ()
) -> tuple[list[str], flags.FlagValues]:
    """Parses the command line of a program other than main.py into flags of its own.

    Returns the positional arguments and the flags. With --help, prints the description and the shown flags and exits.
    """
    fields, values = list(shown), flags.FlagValues()
    if {"-h", "--help"} & set(argv):
        print(description, *map(format_option, fields), sep="\n")
        raise SystemExit(0)
    define_settings([*fields, *others], values)
    return parse_words(argv, values), values


def format_option(field: dataclasses.Field) -> str:
    default = format_value(field.default)
    text = field.metadata["help"] + f" Default: {default}." * (default not in ("", "false"))
    return format_entry(f"  --{field.name}", text, indent=18)
