"""The command line of `benchmark.py`: a command, its own flags, and every setting of main.py."""

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import command_line
from absl import flags

from aux_rnn.config import Config
from aux_rnn.settings import LARGEST, ConfigError, reject

COMMANDS = {
    "step": ("length", "phase", "steps", "product_size"),
    "peer": ("length", "pairs", "peer_huge_pages", "nopeer_huge_pages"),
    "lengths": ("lengths", "phase", "steps", "product_size"),
    "scan": ("length", "phase", "pairs"),
}
# Settings that the other program has; cells other than LSTMs use nn.scan already.
PEER = dict(encoder="lstm", precision="float32", dropconnect=0.0, teacher_forcing=True, pixel_loss="squared")
COMPARABLE: dict[str, dict[str, Any]] = {"peer": {**PEER, "num_anchors": 1}, "scan": {"encoder": "lstm"}}


def integer(name: str, low: int, high: int = LARGEST) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and low <= int(text[:20]) <= high:
            return int(text)
        raise refuse(name, text, f"an integer from {low} to {high}")

    return parse


def refuse(name: str, text: str, allowed: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(str(reject(name, text, allowed)))


def lengths(text: str) -> list[int]:
    return sorted({integer("lengths", 1)(part) for part in text.split(",")})


def output_file(text: str) -> Path:
    path = Path(text).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise refuse("output", text, "a file in a folder that exists")
    return path


FLAGS: dict[str, dict[str, Any]] = {
    "length": dict(type=integer("length", 0), default=0, help="steps per sequence; 0: those of the data set"),
    "lengths": dict(type=lengths, default="1024,4096,16384", help="steps per sequence, separated by commas"),
    "phase": dict(
        choices=("train", "pretrain"), default="train", help="train: joint training; pretrain: the auxiliary loss alone"
    ),
    "steps": dict(type=integer("steps", 1), default=5, help="training steps to measure"),
    "product_size": dict(type=integer("product_size", 1, 1 << 15), default=2048, help="side of the matrices"),
    "pairs": dict(type=integer("pairs", 1), default=5, help="steps of each program"),
    "peer_huge_pages": dict(action="store_true", default=True, help="run PyTorch with THP_MEM_ALLOC_ENABLE=1"),
    "nopeer_huge_pages": dict(action="store_false", dest="peer_huge_pages", help="run PyTorch as installed"),
    "cpu_devices": dict(type=integer("cpu_devices", 0, command_line.MOST_DEVICES), default=0, help="as in main.py"),
    "output": dict(type=output_file, help="file to append the records to, one JSON object per line"),
}


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message.partition(": ")[2] if ": --" in message else message)


def parse_options(argv: Sequence[str], description: str = "") -> argparse.Namespace:
    """Returns the flags of the command as attributes, with `command`, `phase` and `config`.

    Raises:
      ConfigError: anything is wrong, as far as it shows without JAX and the data set; one line.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser("benchmark.py", description=description, formatter_class=layout, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar=f"{{{','.join(COMMANDS)}}}")
    for name, own in COMMANDS.items():
        command = commands.add_parser(name, epilog="and every setting of main.py", allow_abbrev=False)
        for flag in (*own, "cpu_devices", "output"):
            command.add_argument(f"--{flag}", **FLAGS[flag])
    parser.set_defaults(phase="train")
    options, rest = parser.parse_known_args(argv[1:])
    settings = flags.FlagValues()  # not absl's own, in which main.py defines the same settings
    command_line.define_settings(settings)
    if words := command_line.parse_words([argv[0], *rest], settings):
        raise ConfigError(f"{words[0]!r}: unexpected argument; write flags as --name=value")
    options.config = command_line.config_from_flags(settings)
    if options.phase == "pretrain" and not options.config.model.auxiliaries:
        raise reject("phase", "pretrain", "train with --auxiliary=none, which has no pretraining")
    check_comparison(options.command, options.config)
    return options


def check_comparison(command: str, config: Config) -> None:
    """Raises ConfigError if the command cannot compare a model of these settings."""
    model = config.model
    for name, value in COMPARABLE.get(command, {}).items():
        if getattr(model, name) != value:
            raise reject(name, getattr(model, name), f"{str(value).lower()} for {command}")
    if command == "scan" and model.recurrence == "scan":
        raise reject("recurrence", "scan", "auto or fused, to be compared with --recurrence=scan")
    if command == "peer" and len(set(model.decoder_sizes)) > 1:  # nn.LSTM has one size for all its layers
        raise reject("decoder_sizes", model.decoder_sizes, "layers of one size for peer")
    if command == "peer" and importlib.util.find_spec("torch") is None:
        raise ConfigError("peer: PyTorch is not installed; pip install '.[peer]' installs it")
