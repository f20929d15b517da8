"""One command: plan the grid, run what is missing, write records and the report."""

import shlex
from collections.abc import Callable
from typing import Any

from machine import has_accelerator

from aux_rnn.machine import describe_machine, usable_cores
from reproduction.cells import Cell
from reproduction.grids import make_grid, select_cells, take_shard
from reproduction.options import Options
from reproduction.records import Record, RecordError, locked, make_record, put_record, read_records
from reproduction.report import write_report
from reproduction.rows import make_lines
from reproduction.runner import LOG, Outcome, command_of, divide_cores, last_line, read_origin, run_tasks
from reproduction.schedule import Status, Task, format_plan, format_seconds, plan_tasks

COMPLETE, FAILED, INTERRUPTED = 0, 1, 75


class Session:
    """What one command knows and does.

    Args:
      options: what was asked for.
      say: prints a line.

    Raises:
      ConfigError: the grid is not allowed.
      RecordError: the records there are cannot be used.
    """

    def __init__(self, options: Options, say: Callable[[str], Any] = print) -> None:
        self.options, self.say = options, say
        self.grid = make_grid(options.experiment, options.preset, options.seeds)
        self.cells = take_shard(select_cells(self.grid, options.datasets, options.models), options.shard)
        self.kin = {cell.kin for cell in self.grid}
        self.outcomes: dict[str, Outcome] = {}
        cores = usable_cores()
        jobs = options.jobs or (1 if options.preset == "paper" or has_accelerator() else len(cores))
        self.slots = divide_cores(cores, jobs)

    def run(self) -> int:
        """Does all of it. Returns the exit code."""
        options, records = self.options, self.read_records()
        if options.report:
            self.write_report()
            return COMPLETE
        machine = describe_machine(len(self.slots[0]))
        tasks = plan_tasks(self.cells, options.runs, records, machine)
        self.say(format_plan(self.title(), tasks, len(self.slots)))
        if options.dry_run:
            return COMPLETE
        for task in tasks:
            if task.status is Status.DONE and task.cell.digest not in records:
                self.record(task)  # run for another experiment, or by hand
        if tasks and all(task.status is Status.DONE for task in tasks):
            self.say("nothing is left to run; another --results and another --runs run all of it anew")
        todo = [task for task in tasks if task.status in (Status.BEGUN, Status.MISSING)]
        is_stopped = run_tasks(todo, options.locations, self.slots, self.finish, self.begin)
        self.write_report()
        return self.conclude(tasks, is_stopped)

    def title(self) -> str:
        options = self.options
        index, count = options.shard
        share = f", shard {index} of {count}" if count > 1 else ""
        runs = f"{len(self.cells)} runs, seeds 0 to {options.seeds - 1}{share}"
        return f"{options.experiment}, preset {options.preset}: {runs}"

    def read_records(self) -> dict[str, Record]:
        return read_records(self.options.folder, self.options.experiment, self.options.preset, self.kin)

    def record(self, task: Task) -> Record:
        origin = read_origin(task.workdir)
        record = make_record(self.options.experiment, self.options.preset, task.cell, task.workdir, origin)
        put_record(self.options.record_file, record)
        return record

    def begin(self, task: Task) -> None:
        self.say(f"{name_of(task.cell)}: {'continues' if task.status is Status.BEGUN else 'begins'} in {task.workdir}")

    def finish(self, task: Task, outcome: Outcome) -> None:
        """Writes the record of a run that has ended, or says why there is none."""
        record = None
        if outcome is Outcome.COMPLETE:
            try:
                record = self.record(task)
            except RecordError as error:
                outcome = Outcome.FAILED
                self.say(f"  {error}")
        self.outcomes[task.cell.digest] = outcome
        if record:
            accuracy, seconds = 100 * record["test_accuracy"], format_seconds(record["seconds"])
            done = sum(outcome is Outcome.COMPLETE for outcome in self.outcomes.values())
            self.say(f"{name_of(task.cell)}: test accuracy {accuracy:.1f} %, {seconds} ({done} done)")
        else:
            self.say(f"{name_of(task.cell)}: {outcome.value}")
        if outcome is Outcome.FAILED:
            self.say(f"  {last_line(task.workdir)}\n  (the whole of it: {task.workdir / LOG})")
            self.say(f"  {shlex.join(command_of(task, self.options.locations))}")

    def write_report(self) -> None:
        """Makes the report anew from all records, those of other commands included."""
        options = self.options
        options.folder.mkdir(parents=True, exist_ok=True)
        with locked(options.folder):
            lines = make_lines(options.experiment, options.preset, self.grid, self.read_records())
            report = write_report(options.folder, options.experiment, options.preset, lines)
        self.say(f"report: {report}")

    def conclude(self, tasks: list[Task], is_stopped: bool) -> int:
        """The exit code, with a line that says why if it is not 0."""
        ended = [outcome for outcome in self.outcomes.values() if outcome is not Outcome.COMPLETE]
        elsewhere = sum(t.status is Status.RUNNING for t in tasks) + ended.count(Outcome.ELSEWHERE)
        if is_stopped or Outcome.INTERRUPTED in ended:
            self.say("interrupted; the same command continues")
            return INTERRUPTED
        if failed := ended.count(Outcome.FAILED):
            self.say(f"{failed} failed, as said above; the same command tries again")
            return FAILED
        if elsewhere:
            self.say(f"{elsewhere} running elsewhere; the same command completes the report when they are done")
            return INTERRUPTED
        return COMPLETE


def name_of(cell: Cell) -> str:
    return f"{' '.join(part for part in cell.row if part != '-')} seed {cell.seed}"
