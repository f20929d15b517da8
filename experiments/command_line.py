"""Flags made from the settings.

absl itself reports mistakes in two lines and takes a stray word without a murmur; here every mistake is one line.
"""

import bisect
import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from absl import flags
from flag_files import FLAG_FILES, expand_flag_files

from aux_rnn.config import Config, from_flat, iterate_settings
from aux_rnn.settings import (
    ConfigError,
    Truncation,
    describe_allowed,
    format_value,
    is_allowed,
    is_plain_text,
    plain_text,
)

MODES = ("train", "eval", "predict", "reconstruct", "report", "dry_run", "prepare")
MOST_DEVICES = 1_024
SPLITS = ("train", "validation", "test")


class SettingParser(flags.ArgumentParser):
    """Turns the text of a flag into the value of a setting, and checks it."""

    def __init__(self, field: dataclasses.Field) -> None:
        super().__init__()
        self._field = field

    def parse(self, argument: Any) -> Any:
        try:
            value = self._convert(argument) if isinstance(argument, str) else argument
            if is_allowed(self._field, value):
                return value
        except ValueError:
            pass
        raise ValueError(f"must be {describe_allowed(self._field)}")

    def _convert(self, text: str) -> Any:
        kind: Any = self._field.type
        if kind == tuple[int, ...]:
            return tuple(int(part) for part in text.split(","))
        if kind is Truncation:
            return text if text == "full" else int(text)
        return kind(text)


class CheckpointParser(flags.ArgumentParser):
    """Takes the name of a checkpoint, as `restore_state` does."""

    def parse(self, argument: Any) -> str:
        if argument in ("latest", "best") or (argument.isascii() and argument.isdigit()):
            return argument
        raise ValueError("must be latest, best or the step of a checkpoint")


class SettingSerializer(flags.ArgumentSerializer):
    """Writes the value of a setting as it is written in a flag file."""

    def serialize(self, value: Any) -> str:
        return format_value(value)


def define_settings(into: flags.FlagValues, fields: Iterable[dataclasses.Field] | None = None) -> None:
    """Defines a flag for every setting, or for the given fields."""
    for field in fields or [field for _, field in iterate_settings()]:
        name, default, text = field.name, field.default, field.metadata["help"]
        if field.type is bool:
            flags.DEFINE_boolean(name, bool(default), text, flag_values=into)
        else:
            flags.DEFINE(SettingParser(field), name, default, text, into, SettingSerializer())


def define_flags() -> None:
    """Defines a flag for every setting, and those that say what to do, where and on what."""
    define_settings(flags.FLAGS)
    flags.DEFINE_enum(
        "mode",
        "train",
        MODES,
        "train: to the end, continuing what is there; eval: a checkpoint, by its own settings; "
        "predict: the same, and what it says of every example of a split goes to its folder; "
        "reconstruct: draws reconstructions by its decoders; report: writes report.html and the curves; "
        "dry_run: says what a run would be and take, as a flag file with comments; "
        "prepare: only the data set, saying what there is.",
    )
    flags.DEFINE(
        CheckpointParser(), "checkpoint", "latest", "Which checkpoint to use: latest, best or a step; not to train."
    )
    flags.DEFINE_enum("split", "test", SPLITS, "Which part of the data --mode=predict is about.")
    flags.DEFINE_integer(
        "cpu_devices",
        0,
        "On a CPU, devices to divide a batch over; 0: one a core, with 16 examples or more each.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "num_processes",
        0,
        "Processes of the run; 0: what a Cloud TPU or SLURM says, and else one. ./launch.sh local N sets these three.",
        lower_bound=0,
        upper_bound=MOST_DEVICES,
    )
    flags.DEFINE_integer("process_id", -1, "Which of them this one is, from 0; -1: found out.", lower_bound=-1)
    flags.DEFINE_string(
        "coordinator_address", "", "HOST:PORT at which process 0 waits for the others; empty: found out."
    )
    flags.DEFINE_string(
        "workdir",
        "",
        "Folder of the run, or an address such as gs://BUCKET/RUN. Empty: runs/DATASET-AUXILIARY-seedSEED.",
    )
    flags.register_validator("cpu_devices", lambda count: count <= MOST_DEVICES, f"must be at most {MOST_DEVICES}")
    flags.register_validator("workdir", is_plain_text, f"must be {plain_text().phrase}")
    flags.register_validator("coordinator_address", is_plain_text, f"must be {plain_text().phrase}")


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the command line, flag files included, into `flags.FLAGS`.

    Returns:
      The program's name alone.

    Raises:
      ConfigError: anything is wrong; one line.
    """
    words = parse_words(argv, flags.FLAGS)
    if words:
        raise ConfigError(f"{words[0]!r}: stray word; write flags as --name=value, switches as --name or --noname")
    return [argv[0]]


def parse_words(argv: Sequence[str], into: flags.FlagValues) -> list[str]:
    """As `parse`, into any flags; returns the words that are no flags, without the program's name."""
    return parse_flags([argv[0], *expand_flag_files(argv[1:], [Path.cwd(), FLAG_FILES])], into)


def parse_flags(argv: Sequence[str], into: flags.FlagValues) -> list[str]:
    """As `parse_words`, without flag files."""
    try:
        return into(list(argv))[1:]
    except flags.Error as error:
        raise ConfigError(str(error).strip().removeprefix("flag ")) from error
    except ValueError as error:  # absl passes on what some flags of its own say, without their names
        raise ConfigError(f"{find_refused(argv, into)}: {error}") from error


def find_refused(argv: Sequence[str], into: flags.FlagValues) -> str:
    """The first word that the flags do not take."""

    def is_refused(count: int) -> bool:
        try:
            into(list(argv[:count]))
        except (flags.Error, ValueError):
            return True
        return False

    return argv[bisect.bisect_left(range(1, len(argv) + 1), True, key=is_refused)]


def config_from_flags(parsed: flags.FlagValues = flags.FLAGS) -> Config:
    """The configuration that the parsed flags describe. Raises ConfigError if settings contradict each other."""
    return from_flat({field.name: getattr(parsed, field.name) for _, field in iterate_settings()})


def workdir_from_flags(config: Config) -> str:
    """Folder or address of the run."""
    dataset = config.data.dataset.replace(":", "-").replace("/", "-")
    name = f"{dataset}-{config.model.auxiliary}-seed{config.run.seed}"
    return os.path.expanduser(flags.FLAGS.workdir or f"runs/{name}")


def checkpoint_from_flags() -> str:
    """Which checkpoint to use; raises ConfigError where none can be chosen."""
    mode, checkpoint = flags.FLAGS.mode, flags.FLAGS.checkpoint
    if mode not in ("eval", "predict", "reconstruct") and checkpoint != "latest":
        raise ConfigError(f"--checkpoint={checkpoint}: must be latest, or left out, with --mode={mode}")
    return checkpoint


def place_flags() -> dict[str, Any]:
    """The flags that give the process its place among others, as arguments of `find_processes`."""
    return {name: getattr(flags.FLAGS, name) for name in ("num_processes", "process_id", "coordinator_address")}
