"""Flags made from the settings, and flag files that are found wherever the program is started.

absl itself looks for a flag file in the working directory only, reports mistakes in two lines and takes a stray word
without a murmur. Here a flag file is looked for in the working directory, beside the file that includes it, and in
`experiments/flags`; every mistake is one line.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from aux_rnn.config import Config, from_flat, iterate_settings
from aux_rnn.settings import ConfigError, Truncation, describe_allowed, format_value, is_allowed

FLAG_FILES = Path(__file__).parent / "flags"
MODES = ("train", "eval", "predict", "dry_run", "prepare")
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


def define_settings(into: flags.FlagValues) -> None:
    """Defines a flag for every setting."""
    for _, field in iterate_settings():
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
    try:
        return into([argv[0], *expand_flag_files(argv[1:], [Path.cwd(), FLAG_FILES])])[1:]
    except flags.Error as error:
        raise ConfigError(str(error).strip().replace("\n", " ").removeprefix("flag ")) from error


def expand_flag_files(arguments: Sequence[str], folders: Sequence[Path], opened: tuple[Path, ...] = ()) -> list[str]:
    """The arguments with every `--flagfile=NAME` replaced by the flags in the file, in their place.

    Args:
      arguments: the command line, or the lines of a flag file.
      folders: where to look, in this order.
      opened: the files that led here, to refuse circles.
    """
    expanded: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        name, is_assigned, value = argument.lstrip("-").partition("=")
        if not (argument.startswith("-") and name == "flagfile"):
            expanded.append(argument)
            continue
        if not is_assigned:
            value = queue.pop(0) if queue else ""
        file = find_flag_file(value, folders)
        if file in opened:
            raise ConfigError(f"--flagfile={value}: includes itself ({' -> '.join(p.name for p in (*opened, file))})")
        expanded += expand_flag_files(read_flag_file(file), [file.parent, *folders], (*opened, file))
    return expanded


def find_flag_file(name: str, folders: Sequence[Path]) -> Path:
    # Not Path.expanduser and Path.is_file, which raise for an unknown user and for a name that is too long.
    candidates = list(dict.fromkeys(Path(os.path.abspath(folder / os.path.expanduser(name))) for folder in folders))
    for candidate in candidates:
        if name and os.path.isfile(candidate):
            return candidate
    known = ", ".join(sorted(p.name for p in FLAG_FILES.glob("*.flags")))
    looked = ", ".join(str(c.parent) for c in candidates)
    raise ConfigError(f"--flagfile={name}: no such file in {looked}; there are {known}")


def read_flag_file(file: Path) -> list[str]:
    """The flags in a file: one `--name=value` a line; blank lines and lines that start with # or // say nothing."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--flagfile={file}: cannot be read ({error})") from error
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    for line in lines:
        if not line.startswith("-"):
            raise ConfigError(f"--flagfile={file}: the line {line!r} is no flag; write --name=value, comments after #")
    return lines


def config_from_flags(parsed: flags.FlagValues = flags.FLAGS) -> Config:
    """The configuration that the parsed flags describe. Raises ConfigError if settings contradict each other."""
    return from_flat({field.name: getattr(parsed, field.name) for _, field in iterate_settings()})


def workdir_from_flags(config: Config) -> str:
    """Folder or address of the run; raises ConfigError for an address that cannot be used."""
    dataset = config.data.dataset.replace(":", "-").replace("/", "-")
    name = f"{dataset}-{config.model.auxiliary}-seed{config.run.seed}"
    return os.path.expanduser(flags.FLAGS.workdir or f"runs/{name}")


def checkpoint_from_flags() -> str:
    """Which checkpoint to use; raises ConfigError where none can be chosen."""
    mode, checkpoint = flags.FLAGS.mode, flags.FLAGS.checkpoint
    if mode not in ("eval", "predict") and checkpoint != "latest":
        raise ConfigError(f"--checkpoint={checkpoint}: must be latest, or left out, with --mode={mode}")
    return checkpoint


def place_flags() -> dict[str, Any]:
    """The flags that give the process its place among others, as arguments of `find_place`."""
    return {name: getattr(flags.FLAGS, name) for name in ("num_processes", "process_id", "coordinator_address")}
