"""Measures a training step on random sequences of the right shape; no data set is prepared or read.

  python experiments/benchmark.py step    --flagfile=cifar.flags --length=16384
  python experiments/benchmark.py peer    --flagfile=cifar.flags       # against PyTorch: pip install '.[peer]'
  python experiments/benchmark.py lengths --flagfile=cifar.flags --lengths=1024,4096,16384
  python experiments/benchmark.py scan    --flagfile=cifar.flags       # against --recurrence=scan

step and lengths report time, memory and the share of the speed of a large matrix product; peer and scan compare two
programs pair by pair. Other load on the machine disturbs the times.

  --length   steps per sequence; 0: those of the data set
  --lengths  steps per sequence for the command lengths, one number or more, separated by commas
  --pairs    measured steps of each program
  --output   file to which the records are appended, one JSON object per line

All settings of main.py are flags as well.
"""

import dataclasses
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import command_line
from absl import flags
from benchmarking.measurements import kill_workers, measure_alone, measure_pairs
from benchmarking.tables import format_records
from exits import BAD_INPUT, FAILED, INTERRUPTED, report

from aux_rnn.config.fields import ConfigError, integer, plain_text, positive_sizes, reject, setting
from aux_rnn.config.serialization import to_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets import DataError

COMMANDS = ("step", "peer", "lengths", "scan")
# What the other program of a comparison has.
COMPARABLE: dict[str, dict[str, Any]] = {
    "scan": dict(encoder="lstm"),
    "peer": dict(encoder="lstm", precision="float32", dropconnect=0.0, teacher_forcing=True, num_anchors=1)
    | dict(pixel_loss="squared", optimizer="rmsprop"),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags of this program alone; the docstring of the module describes them."""

    length: int = setting(0, "", integer(0))
    lengths: tuple[int, ...] = setting((1024, 4096, 16384), "", positive_sizes())
    pairs: int = setting(5, "", integer(1))
    output: str = setting("", "", plain_text())


def parse_options(argv: Sequence[str]) -> tuple[str, Config, Options]:
    """Returns the command, the settings and the options. Raises ConfigError if the command cannot measure these."""
    values = flags.FlagValues()  # not absl's own, in which main.py defines the same settings
    command_line.define_settings(values)
    command_line.define_settings(values, dataclasses.fields(Options))
    words = command_line.parse_words(argv, values)
    if len(words) != 1 or words[0] not in COMMANDS:
        raise ConfigError(f"{' '.join(words)!r}: give one command of {', '.join(COMMANDS)}, and flags")
    command, config = words[0], command_line.config_from_flags(values)
    unused = "length" if command == "lengths" else "lengths"
    if values[unused].present:
        raise ConfigError(f"--{unused}: not with the command {command}")
    check(command, config)
    options = Options(**{field.name: getattr(values, field.name) for field in dataclasses.fields(Options)})
    path = Path(os.path.expanduser(options.output))
    if options.output and (path.is_dir() or not path.parent.is_dir()):
        raise reject("output", options.output, "a file in a folder that exists")
    return command, config, dataclasses.replace(options, output=str(path) if options.output else "")


def check(command: str, config: Config) -> None:
    """Raises ConfigError if the other program of a comparison cannot train with these settings."""
    for name, value in COMPARABLE.get(command, {}).items():
        if (given := to_flat(config)[name]) != value:
            raise reject(name, given, f"{str(value).lower()} for {command}")
    if command == "peer" and len(set(config.model.decoder_sizes)) > 1:  # nn.LSTM has one size for all its layers
        raise reject("decoder_sizes", config.model.decoder_sizes, "layers of one size for peer")
    if command == "peer" and importlib.util.find_spec("torch") is None:
        raise ConfigError("peer: PyTorch is not installed; pip install '.[peer]' installs it")


def benchmark(command: str, config: Config, options: Options) -> None:
    """Prints the table of the measurements and appends their records to the file."""
    records = []
    for length in sorted(set(options.lengths)) if command == "lengths" else [options.length]:
        if command in COMPARABLE:
            record = measure_pairs(command, config, length, options.pairs)
        else:
            record = measure_alone(config, length, options.pairs)
        kill_workers()
        records.append({"benchmark": command, **record})
        if options.output:
            with open(options.output, "a") as file:
                file.write(json.dumps(records[-1]) + "\n")
    print(format_records(records))


def main(argv: Sequence[str]) -> int:
    try:
        if "--help" in argv:
            print(__doc__)
        else:
            benchmark(*parse_options(argv))
    except (ConfigError, DataError) as error:
        return report(error, BAD_INPUT)
    except BrokenProcessPool:
        return report("a measured program died; the system kills it if memory runs out", FAILED)
    except OSError as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted; an incomplete measurement is lost", INTERRUPTED)
    finally:
        kill_workers()
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the workers as well
    sys.exit(main(sys.argv))
