"""The command line of `benchmark.py`: a command, its own flags, and every setting of main.py."""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import command_line
from absl import flags

from aux_rnn.config.fields import (
    ANY,
    ConfigError,
    Settings,
    integer,
    one_of,
    plain_text,
    positive_sizes,
    reject,
    setting,
    switch,
)
from aux_rnn.config.settings import Config

COMMANDS = {
    "step": ("length", "phase", "steps", "product_size"),
    "peer": ("length", "pairs", "peer_huge_pages"),
    "lengths": ("lengths", "phase", "steps", "product_size"),
    "scan": ("length", "phase", "pairs"),
}
# Settings that the other program has; cells other than LSTMs use nn.scan already.
PEER = dict(encoder="lstm", precision="float32", dropconnect=0.0, teacher_forcing=True, pixel_loss="squared")
COMPARABLE: dict[str, dict[str, Any]] = {"peer": {**PEER, "num_anchors": 1}, "scan": {"encoder": "lstm"}}


@dataclasses.dataclass(frozen=True)
class Options(Settings):
    """What to measure; see the help texts."""

    command: str = setting("step", "See the description of the program.", one_of(tuple(COMMANDS)))
    config: Config = setting(Config(), "Every setting of main.py.", ANY)
    length: int = setting(0, "Steps per sequence; 0: those of the data set.", integer(0))
    lengths: tuple[int, ...] = setting((1024, 4096, 16384), "Steps per sequence, one or more.", positive_sizes())
    phase: str = setting("train", "pretrain: the auxiliary loss alone.", one_of(("train", "pretrain")))
    steps: int = setting(5, "Training steps to measure.", integer(1))
    pairs: int = setting(5, "Steps of each program.", integer(1))
    product_size: int = setting(2048, "Side of the matrices whose product is timed.", integer(1, 1 << 15))
    peer_huge_pages: bool = setting(True, "Run PyTorch with THP_MEM_ALLOC_ENABLE=1; without: as installed.", switch())
    cpu_devices: int = setting(0, "As in main.py.", integer(0, command_line.MOST_DEVICES))
    output: str = setting("", "File to append the records to, one JSON object per line.", plain_text())


FLAGS = dataclasses.fields(Options)[2:]


def takers(flag: str) -> list[str]:
    """Returns the commands that have the flag."""
    return [command for command, own in COMMANDS.items() if flag in (*own, "cpu_devices", "output")]


def describe_flags() -> str:
    lines = [f"  --{flag.name:<16}{flag.metadata['help']} ({', '.join(takers(flag.name))})" for flag in FLAGS]
    return "\n".join([*lines, "and every setting of main.py (python experiments/main.py --helpshort)"])


def parse_options(argv: Sequence[str]) -> Options:
    """Returns the options, or raises ConfigError, one line, if anything is wrong that shows without JAX and data."""
    values = flags.FlagValues()  # not absl's own, in which main.py defines the same settings
    command_line.define_settings(values)
    command_line.define_settings(values, FLAGS)
    command, *others = command_line.parse_words(argv, values) or [""]
    if others or command not in COMMANDS:
        raise ConfigError(f"{(others or [command])[0]!r}: give one command of {', '.join(COMMANDS)}, and flags")
    for flag in FLAGS:
        if values[flag.name].present and command not in takers(flag.name):
            raise ConfigError(f"--{flag.name}: only with {', '.join(takers(flag.name))}")
    own = {flag.name: getattr(values, flag.name) for flag in FLAGS}
    options = Options(command, command_line.config_from_flags(values), **own)
    check(options)
    return options


def check(options: Options) -> None:
    """Raises ConfigError if the command cannot measure a model of these settings."""
    command, model = options.command, options.config.model
    if options.phase == "pretrain" and not model.auxiliaries:
        raise reject("phase", "pretrain", "train with --auxiliary=none, which has no pretraining")
    for name, value in COMPARABLE.get(command, {}).items():
        if getattr(model, name) != value:
            raise reject(name, getattr(model, name), f"{str(value).lower()} for {command}")
    if command == "scan" and model.recurrence == "scan":
        raise reject("recurrence", "scan", "auto or fused, to be compared with --recurrence=scan")
    if command == "peer" and len(set(model.decoder_sizes)) > 1:  # nn.LSTM has one size for all its layers
        raise reject("decoder_sizes", model.decoder_sizes, "layers of one size for peer")
    if command == "peer" and importlib.util.find_spec("torch") is None:
        raise ConfigError("peer: PyTorch is not installed; pip install '.[peer]' installs it")
    path = Path(options.output).expanduser()
    if options.output and (path.is_dir() or not path.parent.is_dir()):
        raise reject("output", options.output, "a file in a folder that exists")
