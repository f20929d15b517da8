"""Flags made from the settings.

absl reports mistakes in two lines and accepts positional arguments silently; here every mistake is one line.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from aux_rnn.config.fields import (
    ConfigError,
    Truncation,
    format_value,
    is_plain_text,
    plain_text,
)
from aux_rnn.config.serialization import from_flat, iterate_settings
from aux_rnn.config.settings import Config
from cli.flag_files import FLAG_FILES, expand_flag_files
from cli.tables import format_entry

MODES = {
    "train": "to the end, continuing the run in --workdir if there is one",
    "eval": "a checkpoint, with its own settings",
    "predict": "evaluates, and writes the prediction for every example of a split to --workdir",
    "reconstruct": "draws reconstructions by its decoders",
    "report": "writes report.html and the curves",
    "dry_run": "shows what a run would be and need, as a flag file with comments",
    "prepare": "only the data set, and describes it",
}
SETTINGS = [field for _, field in iterate_settings()]
MOST_DEVICES = 1_024
SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Invocation:
    """What a command line asks for.

    Attributes:
      mode: one of `MODES`.
      config: the experiment.
      workdir: folder or address of the run.
      place: arguments of `find_processes`.
      checkpoint: which one to use, see `restore_state`; training always continues from the newest.
      split: part of the data to predict.
    """

    mode: str
    config: Config
    workdir: str
    place: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    checkpoint: str = "latest"
    split: str = "test"


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
        if self._type is Truncation:
            return text if text == "full" else int(text)
        return self._type(text)


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


def define_flags() -> None:
    """Defines a flag for every setting, and those that choose the mode, the run, its data and its devices."""
    define_settings(SETTINGS, flags.FLAGS)
    flags.DEFINE_enum("mode", "train", list(MODES), "; ".join(f"{mode}: {text}" for mode, text in MODES.items()) + ".")
    flags.DEFINE_string(
        "workdir", "", "Folder or address (gs://BUCKET/RUN) of the run; empty: runs/DATASET-AUXILIARY-seedSEED."
    )
    flags.DEFINE_string("checkpoint", "latest", "Which checkpoint to use: latest, best or a step; not to train.")
    flags.DEFINE_enum("split", "test", SPLITS, "Which part of the data --mode=predict is about.")
    flags.DEFINE_integer(
        "cpu_devices", 0, "On a CPU, devices to divide a batch over; 0: one per core, with 16 examples or more each.", 0
    )
    flags.DEFINE_integer(
        "num_processes",
        0,
        "Processes of the run; 0: what a Cloud TPU or SLURM says, else one. ./launch.sh local N sets these three.",
        0,
        MOST_DEVICES,
    )
    flags.DEFINE_integer("process_id", -1, "Index of this process, from 0; -1: detected.", -1)
    flags.DEFINE_string(
        "coordinator_address", "", "HOST:PORT at which process 0 waits for the others; empty: detected."
    )
    flags.register_validator("cpu_devices", lambda count: count <= MOST_DEVICES, f"must be at most {MOST_DEVICES}")
    flags.register_validator("checkpoint", is_checkpoint, "must be latest, best or the step of a checkpoint")
    for name in ("workdir", "coordinator_address"):
        flags.register_validator(name, is_plain_text, f"must be {plain_text().phrase}")


def is_checkpoint(name: str) -> bool:
    return name in ("latest", "best") or (name.isascii() and name.isdigit())


def parse(argv: Sequence[str]) -> list[str]:
    """Parses the command line, flag files included, into `flags.FLAGS`.

    Returns:
      The program's name alone.

    Raises:
      ConfigError: anything is wrong; one line.
    """
    words = parse_words(argv, flags.FLAGS)
    if words:
        raise ConfigError(
            f"{words[0]!r}: unexpected positional argument; write flags as --name=value, switches as --name or --noname"
        )
    return [argv[0]]


def parse_words(argv: Sequence[str], into: flags.FlagValues) -> list[str]:
    """Parses a command line into any flags; returns the positional arguments, without the program's name."""
    return parse_flags([argv[0], *expand_flag_files(argv[1:], [Path.cwd(), FLAG_FILES])], into)


def parse_options(
    argv: Sequence[str], description: str, shown: Iterable[dataclasses.Field], others: Iterable[dataclasses.Field] = ()
) -> tuple[list[str], flags.FlagValues]:
    """Parses the command line of a program other than main.py.

    Args:
      argv: the program's name and its arguments.
      description: of the program, for --help.
      shown: the flags, which --help lists.
      others: further flags.

    Returns:
      The positional arguments, and the flags.

    Raises:
      ConfigError: anything is wrong; one line.
      SystemExit: --help was given and is printed.
    """
    fields, values = list(shown), flags.FlagValues()  # not absl's own, in which main.py has flags of the same names
    if {"-h", "--help"} & set(argv):
        print(description, *map(format_option, fields), sep="\n")
        raise SystemExit(0)
    define_settings([*fields, *others], values)
    return parse_words(argv, values), values


def format_option(field: dataclasses.Field) -> str:
    default = format_value(field.default)
    text = field.metadata["help"] + f" Default: {default}." * (default not in ("", "false"))
    return format_entry(f"  --{field.name}", text, indent=18)


def parse_flags(argv: Sequence[str], into: flags.FlagValues) -> list[str]:
    """Parses like `parse_words`, without flag files."""
    try:
        return into(list(argv))[1:]
    except flags.Error as error:
        raise ConfigError(str(error).strip().removeprefix("flag ")) from error
    except ValueError as error:  # absl passes on what some flags of its own say, without their names
        raise ConfigError(f"{find_refused(argv, into)}: {error}") from error


def find_refused(argv: Sequence[str], into: flags.FlagValues) -> str:
    """Returns the first word that the flags do not accept."""
    for count in range(2, len(argv)):
        try:
            into(list(argv[:count]))
        except (flags.Error, ValueError):
            return argv[count - 1]
    return argv[-1]


def config_from_flags(parsed: flags.FlagValues = flags.FLAGS) -> Config:
    """Returns the configuration in the parsed flags. Raises ConfigError if settings contradict each other."""
    return from_flat({field.name: getattr(parsed, field.name) for field in SETTINGS})


def invocation_from_flags() -> Invocation:
    """Returns what the parsed flags ask for. Raises ConfigError if they contradict each other."""
    given, config = flags.FLAGS, config_from_flags()
    if given.mode not in ("eval", "predict", "reconstruct") and given.checkpoint != "latest":
        raise ConfigError(f"--checkpoint={given.checkpoint}: must be latest, or left out, with --mode={given.mode}")
    dataset = config.data.dataset.replace(":", "-").replace("/", "-")
    workdir = os.path.expanduser(given.workdir or f"runs/{dataset}-{config.model.auxiliary}-seed{config.run.seed}")
    place = {name: getattr(given, name) for name in ("num_processes", "process_id", "coordinator_address")}
    return Invocation(given.mode, config, workdir, place, given.checkpoint, given.split)
