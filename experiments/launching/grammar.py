"""The command lines of `tpu` and `slurm`: flags of their own, then, after --, those of main.py, passed on as they are.

So it is never in doubt whose a flag is. Every mistake is one line.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import NoReturn

DEFAULT_FLAGS = ("--flagfile=digits.flags",)
NAMING = ("--flagfile", "--dataset", "--mode")


class UsageError(Exception):
    """The command line will not do. The text says why, in one line."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose mistakes are exceptions."""

    def __init__(self, usage: str, description: str | None) -> None:
        super().__init__(
            usage=usage,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += "; flags of main.py go after --"
        raise UsageError(message.removeprefix("argument "))


def complete(flags: Sequence[str]) -> list[str]:
    """The flags of main.py, on digits where they do not name what is trained, as `./launch.sh train` has it."""
    return list(flags) if any(flag.startswith(NAMING) for flag in flags) else [*DEFAULT_FLAGS, *flags]


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What comes before the first --, and the flags of main.py after it; see `complete`."""
    words = list(arguments)
    border = words.index("--") if "--" in words else len(words)
    return words[:border], complete(words[border + 1 :])


def matching(pattern: str, allowed: str) -> Callable[[str], str]:
    """A type of a flag: text that matches all of the pattern."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r}: must be {allowed}")
        return text

    return parse


def count(text: str) -> int:
    """A type of a flag: an integer from 1."""
    return int(matching(r"[1-9]\d{0,5}", "an integer from 1 to 999999")(text))
