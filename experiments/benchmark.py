"""Measures the training step on random sequences; no data set is needed.

  python experiments/benchmark.py step    --flagfile=cifar.flags --length=16384
  python experiments/benchmark.py lengths --flagfile=cifar.flags
  python experiments/benchmark.py peer    --flagfile=cifar.flags
  python experiments/benchmark.py scan    --flagfile=cifar.flags

step and lengths report time, memory and the share of the speed of a large
matrix product. peer alternates with PyTorch (pip install '.[peer]'), scan with
--recurrence=scan. Other load on the machine disturbs the times. All settings of
main.py are flags as well.
"""

import dataclasses
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from benchmarking.measurements import kill_workers, measure_alone, measure_pairs
from benchmarking.tables import format_records
from cli import exits
from cli.command_line import config_from_flags
from cli.parsing import SETTINGS, parse_options

from aux_rnn.config.fields import Allowed, ConfigError, integer, positive_sizes, reject, setting
from aux_rnn.config.serialization import to_flat
from aux_rnn.config.settings import Config

COMMANDS = ("step", "peer", "lengths", "scan")
# Settings that the other program of a comparison has.
COMPARABLE: dict[str, dict[str, Any]] = {
    "scan": dict(encoder="lstm"),
    "peer": dict(encoder="lstm", precision="float32", dropconnect=0.0, teacher_forcing=True, num_anchors=1)
    | dict(pixel_loss="squared", optimizer="rmsprop"),
}


def is_writable(name: str) -> bool:
    path = Path(os.path.expanduser(name))
    return not name or (path.parent.is_dir() and not path.is_dir())


FILE = Allowed("a file in a folder that exists", is_writable)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags, in addition to the settings of a run."""

    length: int = setting(0, "Steps per sequence; 0: those of the data set.", integer(0))
    lengths: tuple[int, ...] = setting((1024, 4096, 16384), "Steps per sequence with lengths.", positive_sizes())
    pairs: int = setting(5, "Measured steps of each program.", integer(1))
    output: str = setting("", "File to which the records are appended, one JSON object per line.", FILE)


def parse(argv: Sequence[str]) -> tuple[str, Config, Any]:
    """Returns the command, the settings and the options. Raises ConfigError if the command cannot measure these."""
    words, given = parse_options(argv, __doc__, dataclasses.fields(Options), SETTINGS)
    if len(words) != 1 or words[0] not in COMMANDS:
        raise ConfigError(f"{' '.join(words)!r}: give one command of {', '.join(COMMANDS)}, and flags")
    command, config = words[0], config_from_flags(given)
    unused = "length" if command == "lengths" else "lengths"
    if given[unused].present:
        raise ConfigError(f"--{unused}: not with the command {command}")
    check(command, config)
    return command, config, given


def check(command: str, config: Config) -> None:
    """Raises ConfigError if the other program of a comparison cannot train with these settings."""
    for name, value in COMPARABLE.get(command, {}).items():
        if (given := to_flat(config)[name]) != value:
            raise reject(name, given, f"{str(value).lower()} for {command}")
    if command == "peer" and len(set(config.model.decoder_sizes)) > 1:  # nn.LSTM has one size for all its layers
        raise reject("decoder_sizes", config.model.decoder_sizes, "layers of one size for peer")
    if command == "peer" and importlib.util.find_spec("torch") is None:
        raise ConfigError("peer: PyTorch is not installed; pip install '.[peer]' installs it")


def benchmark(argv: Sequence[str]) -> int:
    """Prints the table of the measurements and appends their records to the file."""
    command, config, options = parse(argv)
    records = []
    try:
        for length in sorted(set(options.lengths)) if command == "lengths" else [options.length]:
            if command in COMPARABLE:
                record = measure_pairs(command, config, length, options.pairs)
            else:
                record = measure_alone(config, length, options.pairs)
            kill_workers()
            records.append({"benchmark": command, **record})
            if options.output:
                with open(os.path.expanduser(options.output), "a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
    except BrokenProcessPool:
        return exits.report("a measured program died; the system kills it if memory runs out", exits.FAILED)
    finally:
        kill_workers()
    print(format_records(records))
    return 0


def main(argv: Sequence[str]) -> int:
    return exits.run(lambda: benchmark(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
