"""Dataclass fields with a help text and a constraint, of which `settings.py` consists."""

import dataclasses
import os
import reprlib
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Literal

from aux_rnn.errors import OneLineError

Truncation = int | Literal["full"]
Count = int | Literal["auto"]
Encoder = str | Callable[[int], Any]
LARGEST = 2**31 - 1
MAX_NUMBER = 1e38  # what float32 holds
MAX_LAYERS = 100  # each is a program of its own


class ConfigError(OneLineError, ValueError):
    """A setting that cannot work. The text names it, its value as on the command line, and what is allowed.

    Examples:
      >>> from aux_rnn import ModelConfig
      >>> ModelConfig(hidden_size=0)
      Traceback (most recent call last):
      aux_rnn.config.fields.ConfigError: hidden_size=0: must be an integer from 1 to 2147483647
    """


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A constraint of a setting: the phrase for error messages and the predicate, which takes values of any type."""

    phrase: str
    accepts: Callable[[Any], bool]


def integer(low: int, high: int = LARGEST) -> Constraint:
    """Allows whole numbers from `low` to `high`; by default those that fit into 32 bits, as on the devices."""
    return Constraint(f"an integer from {low} to {high}", lambda value: is_integer(value) and low <= value <= high)


def number(low: float, high: float = MAX_NUMBER, excluding: float | None = None) -> Constraint:
    """Allows numbers from `low` to `high`, except one of the two if `excluding` names it."""
    phrases = {low: f"above {low:g}, at most {high:g}", high: f"from {low:g} to below {high:g}"}
    phrase = f"from {low:g} to {high:g}" if excluding is None else phrases[excluding]
    return Constraint(
        f"a number {phrase}",
        lambda value: (isinstance(value, float) or is_integer(value)) and low <= value <= high and value != excluding,
    )


def one_of(names: Iterable[str]) -> Constraint:
    names = tuple(names)
    return Constraint("one of " + ", ".join(names), lambda value: isinstance(value, str) and value in names)


def integer_or(word: str, low: int, high: int = LARGEST) -> Constraint:
    """Allows whole numbers from `low` to `high`, and one word."""
    numbers = integer(low, high)
    return Constraint(f"{numbers.phrase}, or '{word}'", lambda value: numbers.accepts(value) or value == word)


def positive_sizes() -> Constraint:
    size = integer(1)
    return Constraint(
        f"positive integers separated by commas, at most {MAX_LAYERS} and none above {LARGEST}",
        lambda sizes: isinstance(sizes, tuple) and 0 < len(sizes) <= MAX_LAYERS and all(map(size.accepts, sizes)),
    )


def encoder_of(names: Iterable[str]) -> Constraint:
    """Allows one of the names, a function that makes a cell, and the dotted name of one, as `config.json` has it."""
    named = one_of(names)
    return Constraint(
        named.phrase,
        lambda value: callable(value) or named.accepts(value) or (isinstance(value, str) and is_dotted_name(value)),
    )


def is_dotted_name(text: str) -> bool:
    """Returns whether a text is a module and a name in it, such as 'flax.linen.recurrent.GRUCell'."""
    return "." in text and is_plain_text(text) and not any(character.isspace() for character in text)


def checkpoint_name() -> Constraint:
    return Constraint(
        "latest, best or the step of a checkpoint",
        lambda name: name in ("latest", "best") or (name.isascii() and name.isdigit()),
    )


def switch() -> Constraint:
    return Constraint("true or false", lambda value: isinstance(value, bool))


def plain_text() -> Constraint:
    return Constraint(
        "text in UTF-8 without control characters", lambda value: isinstance(value, str) and is_plain_text(value)
    )


def is_plain_text(text: str) -> bool:
    """Returns whether a text has no control characters, line breaks or bytes that are not UTF-8."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def setting(default: Any, help: str, allowed: Constraint) -> Any:
    """Makes a dataclass field with its help text and constraint."""
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


class Settings:
    """Base class of groups of settings: checks every field.

    NumPy scalars and arrays, lists and paths become the numbers, tuples and texts that they stand for.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = to_plain(getattr(self, field.name))
            if isinstance(value, list | tuple) and isinstance(field.default, tuple):
                value = tuple(map(to_plain, value))
            if not field.metadata["allowed"].accepts(value):
                raise setting_error(field.name, value, field.metadata["allowed"].phrase)
            object.__setattr__(self, field.name, value)


def to_plain(value: Any) -> Any:
    """Returns the Python value of a NumPy or JAX scalar or array, or the text of a path; others as they are."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def format_value(value: Any) -> str:
    """Returns a value as it is written on the command line; the beginning of one that cannot be written there.

    A function or class is written as its module and its name.
    """
    if callable(value):
        named = value if hasattr(value, "__qualname__") else type(value)
        return f"{named.__module__}.{named.__qualname__}"
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    if isinstance(value, bool):
        return str(value).lower()
    if is_integer(value) and abs(value) > 2**1024:
        return hex(value)  # Python refuses to write thousands of decimal digits
    return str(value) if isinstance(value, str | int | float) else reprlib.repr(value)


def format_flag(name: str, value: Any) -> str:
    """Returns a setting as it is given on the command line."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={format_value(tuple(value) if isinstance(value, list) else value)}"


def setting_error(name: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(f"{name}={format_value(value)}: must be {allowed}")
