"""Executes the missing runs of a grid as `main.py` commands."""

import json
import shlex
import sys
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from cli.environment import code_version, has_accelerator
from cli.exits import FAILED, IN_USE, INTERRUPTED
from cli.subprocesses import Job, run_jobs
from cli.tables import format_table

from aux_rnn.config.serialization import diff_configs
from aux_rnn.storage.workdir import WorkdirError, read_config, read_summary
from aux_rnn.system.machine import usable_cores
from aux_rnn.system.timing import format_duration
from reproduction.grid import GridRun
from reproduction.presets import PRESETS
from reproduction.records import COMMITS, RecordError, append_line, make_record

MAIN = Path(__file__).parents[1] / "main.py"
OUTCOMES = {IN_USE: "in use by another command", INTERRUPTED: "interrupted"}


def make_slots(options: Any) -> list[list[int]]:
    """Returns the cores of each concurrent run; with more runs than cores they share them."""
    cores = usable_cores()
    one_core = PRESETS[options.preset].one_core_per_run and not has_accelerator()
    jobs = options.jobs or (len(cores) if one_core else 1)
    return [cores[slot::jobs] or [cores[slot % len(cores)]] for slot in range(jobs)]


def make_arguments(run: GridRun, options: Any) -> list[str]:
    """Returns the arguments of `main.py` for a run; without plots, so that time and memory are those of training."""
    # One process, also inside a step of SLURM or MPI, whose variables would make the runs join each other.
    alone = ["--num_processes=1", "--nopictures"]
    return [*run.flags(), *options.data_flags, *alone, f"--workdir={options.runs / run.folder}"]


def find_state(run: GridRun, workdir: Path, recorded: Container[str]) -> str:
    """Returns 'recorded', 'complete', 'begun' or 'missing'."""
    if run.digest in recorded:
        return "recorded"
    try:
        config, summary = read_config(workdir), read_summary(workdir) or {}
    except WorkdirError:
        return "begun"  # `main.py` will say what is wrong
    if config is None:
        return "missing"
    return "complete" if summary.get("status") == "complete" and not diff_configs(config, run.config) else "begun"


def format_plan(runs: Sequence[GridRun], states: Mapping[str, str]) -> str:
    """Returns a table of the states of runs, one line per row of the grid."""
    names = [run.name for run in runs]
    table = pd.crosstab(names, [states[run.digest] for run in runs], margins=True, margins_name="all")
    table = table.loc[[*dict.fromkeys(names), "all"]]
    return format_table(table.reset_index(names="data set, model, truncation"))


def execute(runs: Sequence[GridRun], options: Any, states: Mapping[str, str]) -> int:
    """Executes the runs that are not complete and records those that are; `states` are by digest.

    Returns the exit code: 0 if all runs are recorded, 1 if one failed, 75 if one was interrupted or is in use.
    """
    codes = [record_run(run, options) for run in runs if states[run.digest] == "complete"]
    jobs = {}
    for run in runs:
        if states[run.digest] in ("begun", "missing"):
            command = (sys.executable, str(MAIN), *make_arguments(run, options))
            jobs[Job(command, options.runs / run.folder / "output.log")] = run
    expected = len(codes) + len(jobs)
    for job, code in run_jobs(list(jobs), make_slots(options)):
        if code is None:
            verb = "continues" if states[jobs[job].digest] == "begun" else "starts"
            say(jobs[job], f"{verb} in {job.log.parent}")
        else:
            codes.append(finish_run(jobs[job], options, job, code))
    in_use, failed = codes.count(IN_USE), len([code for code in codes if code not in (0, IN_USE, INTERRUPTED)])
    if len(codes) < expected or INTERRUPTED in codes:
        print("interrupted; the same command continues", flush=True)
        return INTERRUPTED
    if failed:
        print(f"{failed} failed, see above; the same command tries again", flush=True)
        return FAILED
    if in_use:
        print(f"{in_use} in use by another command; repeat the command once they are done", flush=True)
    return INTERRUPTED if in_use else 0


def finish_run(run: GridRun, options: Any, job: Job, code: int) -> int:
    """Records a run that has ended, or prints why it is not complete. Returns its exit code."""
    if code in (0, INTERRUPTED):
        append_line(job.log.parent / COMMITS, code_version())
    if code == 0:
        return record_run(run, options)
    say(run, OUTCOMES.get(code, "failed"))
    if code not in OUTCOMES:
        command = shlex.join(["python", "experiments/main.py", *make_arguments(run, options)])
        print(f"  {job.last_line()}\n  (full output: {job.log})\n  {command}", flush=True)
    return code


def record_run(run: GridRun, options: Any) -> int:
    """Appends the record of a complete run. Returns 0, or 1 if its files cannot be read."""
    try:
        record = make_record(options.experiment, options.preset, run, options.runs / run.folder)
    except RecordError as error:
        say(run, f"failed\n  {error}")
        return FAILED
    index, count = options.shard
    shard = f".shard-{index}-of-{count}" if count > 1 else ""
    append_line(options.folder / f"{options.preset}{shard}.jsonl", json.dumps(record, allow_nan=False))
    say(run, f"test accuracy {100 * record['test_accuracy']:.1f} %, {format_duration(record['seconds'])}")
    return 0


def say(run: GridRun, text: str) -> None:
    print(f"{run.name}, seed {run.seed}: {text}", flush=True)
