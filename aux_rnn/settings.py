"""The mechanism behind `config.py`: dataclass fields that carry their help text and what they allow."""

import dataclasses
import reprlib
import unicodedata
from collections.abc import Callable
from typing import Any, Literal

from aux_rnn.errors import OneLineError

Truncation = int | Literal["full"]
LARGEST = 2**31 - 1
LARGEST_NUMBER = 1e38  # what float32 holds
MOST_LAYERS = 100  # each is a program of its own


class ConfigError(OneLineError, ValueError):
    """A setting that cannot work. The text names the flag, its value and what is allowed, in one line.

    Examples:
      >>> from aux_rnn import ModelConfig
      >>> ModelConfig(hidden_size=0)
      Traceback (most recent call last):
      aux_rnn.settings.ConfigError: --hidden_size=0: must be an integer from 1 to 2147483647
    """


@dataclasses.dataclass(frozen=True)
class Allowed:
    """What a setting may be: a phrase for the error message and the predicate behind it."""

    phrase: str
    accepts: Callable[[Any], bool]


def at_least(low: float) -> Allowed:
    return from_to(low, LARGEST_NUMBER)


def integer_from(low: int, high: int = LARGEST) -> Allowed:
    """Whole numbers; by default those that the devices' 32 bits hold."""
    return Allowed(f"from {low} to {high}", lambda value: low <= value <= high)


def above(low: float) -> Allowed:
    return Allowed(f"above {low:g}, at most {LARGEST_NUMBER:g}", lambda value: low < value <= LARGEST_NUMBER)


def from_to_below(low: float, high: float) -> Allowed:
    return Allowed(f"from {low:g} to below {high:g}", lambda value: low <= value < high)


def from_to(low: float, high: float) -> Allowed:
    return Allowed(f"from {low:g} to {high:g}", lambda value: low <= value <= high)


def one_of(names: tuple[str, ...]) -> Allowed:
    return Allowed("one of " + ", ".join(names), lambda value: value in names)


def steps_or_full(low: int) -> Allowed:
    return Allowed(
        f"an integer from {low} to {LARGEST}, or 'full'",
        lambda value: value == "full" or (is_integer(value) and low <= value <= LARGEST),
    )


def positive_sizes() -> Allowed:
    return Allowed(
        f"positive integers separated by commas, at most {MOST_LAYERS} and none above {LARGEST}",
        lambda sizes: 0 < len(sizes) <= MOST_LAYERS and all(is_integer(s) and 0 < s <= LARGEST for s in sizes),
    )


def plain_text() -> Allowed:
    return Allowed("text in UTF-8 without control characters", is_plain_text)


def is_plain_text(text: str) -> bool:
    """Whether a text can be a name everywhere: no control characters, line breaks or bytes that were not UTF-8."""
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


ANYTHING = Allowed("", lambda value: True)


def setting(default: Any, help: str, allowed: Allowed = ANYTHING) -> Any:
    """A dataclass field that carries its help text and what it allows."""
    return dataclasses.field(default=default, metadata={"help": help, "allowed": allowed})


def format_value(value: Any) -> str:
    """The value as it would be written on the command line; of what could not be written there, the beginning."""
    if isinstance(value, tuple):
        return ",".join(map(format_value, value))
    if isinstance(value, bool):
        return str(value).lower()
    if is_integer(value) and abs(value) > 2**1024:
        return hex(value)  # Python refuses to write thousands of decimal digits
    return str(value) if isinstance(value, str | int | float) else reprlib.repr(value)


def reject(name: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(f"--{name}={format_value(value)}: must be {allowed}")


def is_allowed(field: dataclasses.Field, value: Any) -> bool:
    return has_type(value, field.type) and field.metadata["allowed"].accepts(value)


def describe_allowed(field: dataclasses.Field) -> str:
    """What the field may be: 'an integer of at least 1', 'one of lstm, gru'."""
    kinds: dict[Any, str] = {int: "an integer ", float: "a number ", bool: "true or false"}
    return (kinds.get(field.type, "") + field.metadata["allowed"].phrase).strip()


def format_flag(name: str, value: Any) -> str:
    """A setting as it is given on the command line; sizes may be a list, as JSON has them."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={format_value(tuple(value) if isinstance(value, list) else value)}"


class Settings:
    """Base of the groups of settings: checks every field against what it allows."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not is_allowed(field, value):
                raise reject(field.name, value, describe_allowed(field))


def has_type(value: Any, expected: Any) -> bool:
    if expected in (int, Truncation):
        return is_integer(value) or (expected is Truncation and value == "full")
    if expected is float:
        return isinstance(value, float) or is_integer(value)
    if expected == tuple[int, ...]:
        return isinstance(value, tuple)
    return isinstance(value, expected)
