"""Measures the training step on random sequences; no data set is needed.

  python experiments/benchmark.py step    --flagfile=cifar.flags --length=16384
  python experiments/benchmark.py lengths --flagfile=cifar.flags
  python experiments/benchmark.py peer    --flagfile=cifar.flags
  python experiments/benchmark.py scan    --flagfile=cifar.flags

All report time, memory and the share of the speed of a large matrix product.
peer alternates with PyTorch (pip install '.[peer]'), scan with
--recurrence=scan. Other load on the machine disturbs the times. All settings of
main.py are flags as well.
"""

import dataclasses
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd
from benchmarking.measurements import Record, measure
from cli import exits
from cli.command_line import config_from_flags
from cli.parsing import SETTINGS, parse_options
from cli.tables import format_entry

from aux_rnn.config.fields import ConfigError, Constraint, integer, positive_sizes, setting, setting_error
from aux_rnn.config.serialization import to_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets import sequence_spec

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


FILE = Constraint("a file in a folder that exists", is_writable)
# Entries of a program's record, and their headings.
COLUMNS = {"name": "program", "spec.length": "length", "seconds_per_step": "s/step", "least": "least", "most": "most"}
COLUMNS |= {"product": "product", "compile_seconds": "compile", "scratch_mib": "scratch", "peak_memory_mib": "peak"}
COLUMNS |= {"loss": "loss"}


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
    for name, value in COMPARABLE.get(command, {}).items():
        if (found := to_flat(config)[name]) != value:
            raise setting_error(name, found, f"{str(value).lower()} for {command}")
    if command == "peer":
        check_peer(config)
    return command, config, given


def check_peer(config: Config) -> None:
    """Raises ConfigError if PyTorch is not installed or does not have these layers."""
    if len(set(config.model.decoder_sizes)) > 1:  # nn.LSTM has one size for all its layers
        raise setting_error("decoder_sizes", config.model.decoder_sizes, "layers of one size for peer")
    if sequence_spec(config.data).vocabulary_size:
        raise setting_error("dataset", config.data.dataset, "a data set of pixels for peer")
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("peer: PyTorch is not installed; pip install '.[peer]' installs it")


def benchmark(argv: Sequence[str]) -> int:
    """Prints the table of the measurements and appends their records to the file."""
    command, config, options = parse(argv)
    records = []
    with open(os.path.expanduser(options.output) or os.devnull, "a", buffering=1) as output:
        for length in sorted(set(options.lengths)) if command == "lengths" else [options.length]:
            try:
                records.append(measure(command, config, length, options.pairs))
            except BrokenProcessPool:
                return exits.report("a measured program died; the system kills it if memory runs out", exits.FAILED)
            print(json.dumps(records[-1]), file=output)
    print(format_records(records))
    return 0


def format_records(records: Sequence[Record]) -> str:
    """Returns the table of one command's records, and the machine and versions they were measured with."""
    table = pd.json_normalize(records, "programs", [["spec", "length"]])
    table["product"] = table["gflop"] / table["seconds_per_step"] / table["product_gflop_per_second"]
    table["least"], table["most"] = table["seconds"].map(min), table["seconds"].map(max)
    shown = table.reindex(columns=list(COLUMNS)).rename(columns=COLUMNS)
    lines = [shown.to_string(index=False, float_format="{:.4g}".format, na_rep="-"), ""]
    lines.append(format_entry("columns", "seconds and MiB; product: share of the speed of a matrix product"))
    (own, *others), ratios, machine = records[0]["programs"], records[0]["ratios"], records[0]["machine"]
    for other in others:
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(format_entry("ratio", f"{other['name']} takes {spread} times the seconds of {own['name']}"))
    for program in (own, *others):
        named = program["versions"] | program["variables"]
        parts = [program["devices"], *(f"{name} {value}" for name, value in named.items()), *program.get("notes", [])]
        lines.append(format_entry(program["name"], ", ".join(parts)))
    cpu = ", ".join([machine["cpu"], *machine["vector_extensions"]])
    machine = f"{cpu}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}"
    return "\n".join([*lines, format_entry("machine", machine), format_entry("code", records[0]["commit"])])


def main(argv: Sequence[str]) -> int:
    return exits.run(lambda: benchmark(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
