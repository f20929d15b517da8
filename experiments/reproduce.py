"""Reproduces a table or a figure of the paper: runs what is missing and writes a report.

  python experiments/reproduce.py table2 --preset=digits --seeds=5
  python experiments/reproduce.py lengths --preset=small --manual_dir=DEST --dry_run
  python experiments/reproduce.py bptt --shard=1/4        # on the first of four machines

NAME is table2 (accuracy by model and truncation), lengths (accuracy, time and memory by length), bptt (accuracy by
truncation of the supervised gradient), curves (training and test curves), text (DBpedia by character) or ablations (one
setting changed at a time). Ctrl-C stops and saves; the same command continues. Presets: paper (the paper's data and
settings), small (real data, shrunken), digits (stand-ins that need no network, minutes); their values are in
experiments/reproduction/presets.py. On SLURM:

  sbatch --array=1-8 --wrap='python experiments/reproduce.py table2 --shard=$SLURM_ARRAY_TASK_ID/8'
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import command_line
from absl import flags
from exits import BAD_INPUT, FAILED, INTERRUPTED, report
from reproduction.execution import execute, find_state, format_plan, make_slots
from reproduction.grid import EXPERIMENTS, make_grid, select_runs
from reproduction.presets import PRESETS
from reproduction.records import RecordError, read_records
from reproduction.report import save_report

from aux_rnn.config.fields import ConfigError, is_plain_text, reject

JOBS = "Concurrent runs; 0: one per core with small and digits on CPUs, otherwise one."


def define_flags() -> flags.FlagValues:
    into = flags.FlagValues()  # not absl's own, in which main.py has flags of the same names
    flags.DEFINE_enum("preset", "paper", list(PRESETS), "Sizes and data.", flag_values=into)
    flags.DEFINE_integer("seeds", 5, "Number of seeds, from 0.", 1, 1_000, flag_values=into)
    flags.DEFINE_string("shard", "1/1", "Only this share of the runs, as i/n with i from 1 to n.", flag_values=into)
    flags.DEFINE_integer("jobs", 0, JOBS, 0, 1_000, flag_values=into)
    flags.DEFINE_string("results", "results", "Folder of records and reports.", flag_values=into)
    flags.DEFINE_string("runs", "runs/reproduce", "Folder of the runs' folders.", flag_values=into)
    flags.DEFINE_string("data_dir", "", "As in main.py.", flag_values=into)
    flags.DEFINE_string("manual_dir", "", "As in main.py.", flag_values=into)
    flags.DEFINE_boolean("allow_partial", False, "As in main.py.", flag_values=into)
    flags.DEFINE_boolean("dry_run", False, "Only print the plan.", flag_values=into)
    flags.DEFINE_boolean("report", False, "Only make the report, from existing records.", flag_values=into)
    flags.DEFINE_boolean("help", False, "Show this help.", flag_values=into)
    for name in ("results", "runs"):
        local = "must be a folder of this machine"
        flags.register_validator(name, lambda folder: bool(folder) and "://" not in folder, local, flag_values=into)
    return into


def parse_options(argv: Sequence[str]) -> SimpleNamespace:
    """Returns the flags, `experiment`, `folder` and `data_flags`. Raises ConfigError for any mistake."""
    given = define_flags()
    words = command_line.parse_flags(argv, given)
    if not given.help and (len(words) != 1 or words[0] not in EXPERIMENTS):
        raise ConfigError(f"{' '.join(words)!r}: give one NAME of {', '.join(EXPERIMENTS)}, and flags as --name=value")
    index, _, count = given.shard.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise ConfigError(f"--shard={given.shard}: must be i/n with i from 1 to n, such as 1/4")
    options = SimpleNamespace(**given.flag_values_dict(), experiment="".join(words), main_help=given.main_module_help())
    options.shard = int(index), int(count)
    options.runs = Path(os.path.expanduser(given.runs))
    for name in ("results", "runs"):
        if not is_plain_text(getattr(given, name)):
            raise reject(name, getattr(given, name), "text in UTF-8 without control characters")
    options.folder = Path(os.path.expanduser(given.results)) / options.experiment
    locations = dict(data_dir=given.data_dir, manual_dir=given.manual_dir)
    options.data_flags = [f"--{name}={folder}" for name, folder in locations.items() if folder]
    options.data_flags += ["--allow_partial"] * given.allow_partial
    return options


def reproduce(options: SimpleNamespace) -> int:
    """Carries out one command and returns its exit code. Raises ConfigError and RecordError."""
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
    try:
        options = parse_options(argv)
        if options.help:
            print(f"{__doc__}\n{options.main_help}")
            return 0
        return reproduce(options)
    except (ConfigError, RecordError) as error:
        return report(error, BAD_INPUT)
    except OSError as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted; nothing was lost", INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
