"""Reproduces a table or figure of the paper: trains the missing runs and reports.

  python experiments/reproduce.py table2 --preset=digits --seeds=5
  python experiments/reproduce.py text --preset=small --manual_dir=D --dry_run
  python experiments/reproduce.py bptt --shard=1/4     # first of four machines

The argument is table2 (accuracy by model and truncation), lengths (accuracy,
time and memory by length), bptt (accuracy by truncation of the supervised
gradient), curves (training and test curves), compute (accuracy by the cost of
training), text (DBpedia by character) or ablations (one setting changed at a
time). Presets: paper (the paper's data and sizes), full (the same data at full
length, small networks), small (the same data, shrunken) and digits (data that
need no network, minutes). Ctrl-C stops and saves; the same command continues.
On SLURM:

  sbatch --array=1-8 --wrap='python experiments/reproduce.py table2 \\
    --shard=$SLURM_ARRAY_TASK_ID/8'
"""

import dataclasses
import json
import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from cli import exits, parsing
from cli.environment import code_version, has_accelerator
from cli.exits import FAILED, IN_USE, INTERRUPTED
from cli.subprocesses import Job, run_jobs
from cli.tables import format_table
from reproduction.figures import EXPERIMENTS
from reproduction.grid import ROW, flags_of, folder_of, make_grid
from reproduction.models import WITHOUT
from reproduction.presets import PRESETS
from reproduction.records import COMMITS, append_line, make_record, read_records
from reproduction.report import save_report

from aux_rnn.config.fields import ConfigError, Constraint, format_flag, integer, is_plain_text, one_of, setting, switch
from aux_rnn.config.serialization import PATH_SETTINGS, diff_configs
from aux_rnn.config.settings import Config
from aux_rnn.storage.workdir import WorkdirError, read_config, read_summary
from aux_rnn.system.machine import usable_cores
from aux_rnn.system.timing import format_duration

MAIN = Path(__file__).parent / "main.py"
# Flags that are passed on to main.py.
DATA_FLAGS = [field for field in parsing.SETTINGS if field.name in (*PATH_SETTINGS, "allow_partial")]


def is_shard(text: str) -> bool:
    parts = re.fullmatch("([0-9]+)/([0-9]+)", text)
    return parts is not None and 1 <= int(parts[1]) <= int(parts[2])


SHARD = Constraint("i/n with i from 1 to n, such as 1/4", is_shard)
FOLDER = Constraint(
    "a folder of this machine, in UTF-8 without control characters",
    lambda name: bool(name) and "://" not in name and is_plain_text(name),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """The flags, in addition to `DATA_FLAGS`."""

    preset: str = setting("paper", f"Sizes and data: {', '.join(PRESETS)}.", one_of(PRESETS))
    seeds: int = setting(5, "Number of seeds, from 0.", integer(1, 1_000))
    shard: str = setting("1/1", "Only this share of the runs, as i/n with i from 1 to n.", SHARD)
    jobs: int = setting(0, "Runs at a time; 0: one per core, but one with paper or an accelerator.", integer(0, 1_000))
    results: str = setting("results", "Folder of records and reports.", FOLDER)
    runs: str = setting("runs/reproduce", "Folder of the folders of runs.", FOLDER)
    dry_run: bool = setting(False, "Only print the plan.", switch())
    report: bool = setting(False, "Only write the report, from existing records.", switch())


def parse_options(argv: Sequence[str]) -> SimpleNamespace:
    """Returns the flags, `experiment`, `folder`, `file` and `data_flags`. Raises ConfigError for any mistake."""
    words, given = parsing.parse_options(argv, __doc__, [*dataclasses.fields(Options), *DATA_FLAGS])
    if len(words) != 1 or words[0] not in EXPERIMENTS:
        raise ConfigError(f"{' '.join(words)!r}: give one NAME of {', '.join(EXPERIMENTS)}, and flags as --name=value")
    options = SimpleNamespace(**given.flag_values_dict(), experiment=words[0])
    index, count = options.shard = tuple(map(int, given.shard.split("/")))
    options.runs = Path(os.path.expanduser(given.runs))
    options.folder = Path(os.path.expanduser(given.results)) / words[0]
    options.file = options.folder / f"{given.preset}{f'.shard-{index}-of-{count}' * (count > 1)}.jsonl"
    options.data_flags = [format_flag(f.name, given[f.name].value) for f in DATA_FLAGS if given[f.name].present]
    return options


def make_slots(options: SimpleNamespace) -> list[list[int]]:
    """Returns the cores of each concurrent run; with more runs than cores they share them."""
    cores = usable_cores()
    jobs = options.jobs or (1 if options.preset == "paper" or has_accelerator() else len(cores))
    return [cores[slot::jobs] or [cores[slot % len(cores)]] for slot in range(jobs)]


def make_job(run: Any, options: SimpleNamespace) -> Job:
    """Returns the command of a run; without plots, so that time and memory are those of training."""
    # One process, also inside a step of SLURM or MPI, whose variables would make the runs join each other.
    others = [*options.data_flags, "--num_processes=1", "--nopictures", f"--workdir={run.workdir}"]
    return Job((sys.executable, str(MAIN), *flags_of(run.config), *others), run.workdir / "output.log")


def plan_runs(grid: pd.DataFrame, recorded: Container[Config], options: SimpleNamespace) -> pd.DataFrame:
    """Returns the distinct runs of a grid, every n-th for shard i/n, with `name`, `workdir` and `state`."""
    index, count = options.shard
    runs = grid.drop_duplicates("config")[index - 1 :: count].copy()
    runs["name"] = [" ".join(part for part in row if part != WITHOUT) for row in runs[ROW].to_numpy()]
    runs["workdir"] = [options.runs / folder_of(config) for config in runs["config"]]
    runs["state"] = [find_state(run, recorded) for run in runs.itertuples()]
    return runs


def find_state(run: Any, recorded: Container[Config]) -> str:
    """Returns 'recorded', 'complete', 'begun' or 'missing'."""
    if run.config in recorded:
        return "recorded"
    try:
        config, summary = read_config(run.workdir), read_summary(run.workdir) or {}
    except WorkdirError:
        return "begun"  # `main.py` will say what is wrong
    if config is None:
        return "missing"
    return "complete" if summary.get("status") == "complete" and not diff_configs(config, run.config) else "begun"


def format_plan(runs: pd.DataFrame) -> str:
    """Returns a table of the states of runs, one line per row of the grid; empty for a share without runs."""
    if runs.empty:
        return ""
    table = pd.crosstab(runs["name"], runs["state"], margins=True, margins_name="all")
    return format_table(table.loc[[*runs["name"].unique(), "all"]].reset_index(names="data set, model, truncation"))


def execute(runs: pd.DataFrame, options: SimpleNamespace) -> int:
    """Executes the runs that are not complete and records those that are.

    Returns the exit code: 0 if all runs are recorded, 1 if one failed, 75 if one was interrupted or is in use.
    """
    complete, rest = runs[runs["state"] == "complete"], runs[runs["state"].isin(["begun", "missing"])]
    codes = Counter(record(run, options) for run in complete.itertuples())
    jobs = {make_job(run, options): run for run in rest.itertuples()}
    for job, code in run_jobs(list(jobs), make_slots(options)):
        run = jobs[job]
        if code is None:
            say(run, f"{'continues' if run.state == 'begun' else 'starts'} in {run.workdir}")
            continue
        if code in (0, INTERRUPTED):
            append_line(run.workdir / COMMITS, code_version())
        if code == 0:
            code = record(run, options)
        else:
            say(run, explain_code(code, job))
        codes[code] += 1
    if codes[INTERRUPTED] or codes.total() < len(complete) + len(jobs):
        print("interrupted; the same command continues", flush=True)
        return INTERRUPTED
    if failed := codes.total() - codes[0] - codes[IN_USE]:
        print(f"{failed} failed, see above; the same command tries again", flush=True)
        return FAILED
    if codes[IN_USE]:
        print(f"{codes[IN_USE]} in use by another command; repeat the command once they are done", flush=True)
    return INTERRUPTED if codes[IN_USE] else 0


def record(run: Any, options: SimpleNamespace) -> int:
    """Appends the record of a complete run; returns 0, or 1 after printing why its files cannot be read."""
    try:
        values = make_record(options.experiment, options.preset, run)
    except (OSError, ValueError, KeyError, TypeError, WorkdirError) as error:
        say(run, f"failed\n  {run.workdir}: the complete run cannot be read ({error!r}); move it away")
        return FAILED
    append_line(options.file, json.dumps(values, allow_nan=False))
    say(run, f"test accuracy {100 * values['test_accuracy']:.1f} %, {format_duration(values['seconds'])}")
    return 0


def explain_code(code: int, job: Job) -> str:
    """Returns the reason why a run is not complete."""
    command = shlex.join(["python", "experiments/main.py", *job.command[2:]])
    failure = f"failed\n  {job.last_line()}\n  (full output: {job.log})\n  {command}"
    return {IN_USE: "in use by another command", INTERRUPTED: "interrupted"}.get(code, failure)


def say(run: Any, text: str) -> None:
    print(f"{run.name}, seed {run.seed}: {text}", flush=True)


def reproduce(argv: Sequence[str]) -> int:
    """Carries out one command and returns its exit code. Raises ConfigError and RecordError."""
    options = parse_options(argv)
    grid = make_grid(options.experiment, options.preset, options.seeds)
    code, records = 0, read_records(options.folder, options.preset, grid)
    if options.dry_run or not options.report:
        runs = plan_runs(grid, set(records["config"]), options)
        title = f"{options.experiment}, preset {options.preset}: {len(runs)} runs, {len(make_slots(options))} at a time"
        print(f"{title}\n{format_plan(runs)}", flush=True)
        if options.dry_run:
            return 0
        code = execute(runs, options)
        records = read_records(options.folder, options.preset, grid)
    print(f"report: {save_report(options.folder, options.experiment, options.preset, grid, records)}")
    return code


def main(argv: Sequence[str]) -> int:
    return exits.run(lambda: reproduce(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv))
