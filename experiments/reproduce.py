"""Reproduces a table or figure of the paper: trains the missing runs and reports.

  python experiments/reproduce.py table2 --preset=digits --seeds=5
  python experiments/reproduce.py text --preset=small --manual_dir=D --dry_run
  python experiments/reproduce.py bptt --shard=1/4     # first of four machines

The argument is table2 (accuracy by model and truncation), lengths (accuracy,
time and memory by length), bptt (accuracy by truncation of the supervised
gradient), curves (training and test curves), compute (accuracy by the cost of
training), text (DBpedia by character) or ablations (one setting changed at a
time). Ctrl-C stops and saves; the same command continues. Presets: paper (the
paper's data and settings), full (the same data at full length, small networks),
small (the same data, shrunken), digits (stand-ins that need no network,
minutes); their values are in
experiments/reproduction/presets.py. On SLURM:

  sbatch --array=1-8 --wrap='python experiments/reproduce.py table2 \\
    --shard=$SLURM_ARRAY_TASK_ID/8'
"""

import dataclasses
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

from cli import exits, parsing
from reproduction.execution import execute, find_state, format_plan, make_slots
from reproduction.grid import EXPERIMENTS, make_grid, select_runs
from reproduction.presets import PRESETS
from reproduction.records import read_records
from reproduction.report import save_report

from aux_rnn.config.fields import Allowed, ConfigError, format_flag, integer, is_plain_text, one_of, setting, switch
from aux_rnn.config.serialization import PATH_SETTINGS

# Flags that are passed on to main.py.
DATA_FLAGS = [field for field in parsing.SETTINGS if field.name in (*PATH_SETTINGS, "allow_partial")]


def is_shard(text: str) -> bool:
    parts = re.fullmatch(r"([1-9]\d*)/(\d+)", text, re.ASCII)
    return parts is not None and int(parts[1]) <= int(parts[2])


SHARD = Allowed("i/n with i from 1 to n, such as 1/4", is_shard)
FOLDER = Allowed(
    "a folder of this machine, in UTF-8 without control characters",
    lambda name: bool(name) and "://" not in name and is_plain_text(name),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags, in addition to `DATA_FLAGS`."""

    preset: str = setting("paper", f"Sizes and data: {', '.join(PRESETS)}.", one_of(PRESETS))
    seeds: int = setting(5, "Number of seeds, from 0.", integer(1, 1_000))
    shard: str = setting("1/1", "Only this share of the runs, as i/n with i from 1 to n.", SHARD)
    jobs: int = setting(
        0,
        "Runs at a time; 0: one per CPU core, but only one on an accelerator and with the preset paper.",
        integer(0, 1_000),
    )
    results: str = setting("results", "Folder of records and reports.", FOLDER)
    runs: str = setting("runs/reproduce", "Folder of the folders of runs.", FOLDER)
    dry_run: bool = setting(False, "Only print the plan.", switch())
    report: bool = setting(False, "Only write the report, from existing records.", switch())


def parse_options(argv: Sequence[str]) -> SimpleNamespace:
    """Returns the flags, `experiment`, `folder` and `data_flags`. Raises ConfigError for any mistake."""
    words, given = parsing.parse_options(argv, __doc__, [*dataclasses.fields(Options), *DATA_FLAGS])
    if len(words) != 1 or words[0] not in EXPERIMENTS:
        raise ConfigError(f"{' '.join(words)!r}: give one NAME of {', '.join(EXPERIMENTS)}, and flags as --name=value")
    options = SimpleNamespace(**given.flag_values_dict(), experiment=words[0])
    options.shard = tuple(map(int, given.shard.split("/")))
    options.runs = Path(os.path.expanduser(given.runs))
    options.folder = Path(os.path.expanduser(given.results)) / words[0]
    options.data_flags = [format_flag(f.name, given[f.name].value) for f in DATA_FLAGS if given[f.name].present]
    return options


def reproduce(argv: Sequence[str]) -> int:
    """Carries out one command and returns its exit code. Raises ConfigError and RecordError."""
    options = parse_options(argv)
    code, source = 0, (options.folder, options.experiment, options.preset)
    grid = make_grid(options.experiment, options.preset, options.seeds)
    records = read_records(*source, grid)
    if options.dry_run or not options.report:
        runs = select_runs(grid, options.shard)
        states = {run.digest: find_state(run, options.runs / run.folder, records) for run in runs}
        title = f"{options.experiment}, preset {options.preset}: {len(runs)} runs, {len(make_slots(options))} at a time"
        print(f"{title}\n{format_plan(runs, states)}", flush=True)
        if options.dry_run:
            return 0
        code = execute(runs, options, states)
    print(f"report: {save_report(*source, grid, read_records(*source, grid))}")
    return code


def main(argv: Sequence[str]) -> int:
    return exits.run(lambda: reproduce(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
