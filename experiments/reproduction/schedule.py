"""What is done and what is left of a grid, and how long that may take."""

import dataclasses
import enum
import fcntl
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from aux_rnn.config import describe_difference
from aux_rnn.cost import count_training_step
from aux_rnn.workdir import WorkdirError, read_config, read_summary
from reproduction.cells import Cell, Row, digest_without_seed
from reproduction.records import Record, is_complete

# Assumed where nothing was measured: what a core makes of the step's products (two operations a multiply-add), and the
# seconds that a process takes to start, compile and evaluate. Large layers reach more, small ones half of it.
GFLOPS_PER_CORE = 20.0
SECONDS_TO_START = 20.0


class Status(enum.Enum):
    """How far a cell's run is."""

    DONE = "done"
    BEGUN = "begun"  # interrupted, killed or failed: continues where it was
    RUNNING = "running"  # by another command
    MISSING = "missing"


@dataclasses.dataclass(frozen=True)
class Task:
    """A run of the plan.

    Attributes:
      cell: what to run.
      workdir: where.
      status: how far it is.
      seconds: what is left of it, expected; 0 if it is done.
      is_measured: whether `seconds` comes from runs on this machine rather than from counting.
    """

    cell: Cell
    workdir: Path
    status: Status
    seconds: float
    is_measured: bool


def plan_tasks(
    cells: Iterable[Cell], runs: Path, records: Mapping[str, Record], machine: Mapping[str, Any]
) -> list[Task]:
    """The tasks of distinct runs.

    Args:
      cells: the distinct runs.
      runs: folder of the runs' folders.
      records: what is known, by digest.
      machine: this one, with the cores that a run gets: only its own times are taken for expected ones.
    """
    times: dict[str, list[float]] = {}
    for record in records.values():
        if {**machine, "devices": record["machine"].get("devices")} == record["machine"]:
            times.setdefault(digest_without_seed(record["settings"]), []).append(record["seconds"])
    tasks = []
    for cell in cells:
        workdir = runs / cell.folder
        status = find_status(cell, workdir, records)
        known = times.get(cell.kin)
        seconds = sum(known) / len(known) if known else count_seconds(cell, machine["cores"])
        tasks.append(Task(cell, workdir, status, seconds * share_left(cell, workdir, status), bool(known)))
    return tasks


def find_status(cell: Cell, workdir: Path, records: Mapping[str, Record]) -> Status:
    if cell.digest in records:
        return Status.DONE
    try:
        config = read_config(workdir)
    except WorkdirError:
        return Status.BEGUN  # main.py will say what is wrong with it
    if config is not None and is_complete(workdir) and not describe_difference(config, cell.config):
        return Status.DONE
    if is_locked(workdir):
        return Status.RUNNING
    return Status.MISSING if config is None else Status.BEGUN


def is_locked(workdir: Path) -> bool:
    """Whether a process is training there (see `aux_rnn.workdir`)."""
    try:
        with (workdir / ".lock").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def share_left(cell: Cell, workdir: Path, status: Status) -> float:
    if status is Status.DONE:
        return 0.0
    steps = (read_summary(workdir) or {}).get("steps", 0) if status is Status.BEGUN else 0
    return 1 - steps / cell.plan.total_steps


def count_seconds(cell: Cell, cores: int) -> float:
    """Expected seconds of a whole run from counting the products of its steps."""
    plan = cell.plan
    products = sum(
        steps * count_training_step(cell.config, cell.spec, phase)
        for phase, steps in (("pretrain", plan.pretrain_steps), ("train", plan.train_steps))
        if steps
    )
    return SECONDS_TO_START + 2 * products / (GFLOPS_PER_CORE * 1e9 * cores)


def format_seconds(seconds: float) -> str:
    """'45 s', '12 min', '3.2 h', '4.1 d'."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.1f} d"


def format_plan(title: str, tasks: Sequence[Task], jobs: int) -> str:
    """The plan as a table of at most 80 columns; '~' marks times that were counted, not measured."""
    rows: dict[Row, list[Task]] = {}
    for task in tasks:
        rows.setdefault(task.cell.row, []).append(task)
    lines = [
        title,
        "",
        table_line("data set, model, truncation", "runs", "done", "begun", "busy", "left", "time"),
    ]
    lines += [
        table_line(name_row(row), *count_statuses(members), expected_time(members)) for row, members in rows.items()
    ]
    total = ("in all", *count_statuses(tasks), expected_time(tasks, jobs))
    lines += ["-" * len(lines[-1]), table_line(*total), ""]
    at_once = f"{jobs} run{'s' * (jobs > 1)} at once"
    lines.append(f"time: what is left, in all with {at_once}; ~: counted, {GFLOPS_PER_CORE:g} GFLOP/s a core")
    return "\n".join(lines)


def name_row(row: Row) -> str:
    return " ".join(part for part in row if part != "-")


def table_line(name: str, *numbers: str) -> str:
    widths = (5, 5, 6, 5, 5, 9)
    counts = "".join(f"{number:>{width}}" for number, width in zip(numbers, widths, strict=True))
    return f"{name:<44.44}{counts}"


def count_statuses(tasks: Sequence[Task]) -> tuple[str, ...]:
    counts = [sum(task.status is status for task in tasks) for status in Status]
    return str(len(tasks)), *map(str, counts)


def expected_time(tasks: Sequence[Task], jobs: int = 1) -> str:
    left = [task for task in tasks if task.status in (Status.BEGUN, Status.MISSING)]
    if not left:
        return "-"
    seconds = max(max(task.seconds for task in left), sum(task.seconds for task in left) / jobs)
    return "~" * (not all(task.is_measured for task in left)) + format_seconds(seconds)
