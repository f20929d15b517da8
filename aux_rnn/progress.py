"""What a person sees of a run: a progress bar on a terminal, plain lines anywhere else."""

import contextlib
import datetime
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from aux_rnn.metric_names import METRICS
from aux_rnn.plan import Plan

WIDTH = 80  # columns, where nothing says how many there are


def format_metrics(values: Mapping[str, float | None]) -> str:
    """'accuracy 61.3 %  supervised 1.204  |grad| 0.84'."""
    known = {name: math.nan if value is None else value for name, value in values.items()}  # null in `summary.json`
    return "  ".join(metric.format_line(known[name]) for name, metric in METRICS.items() if name in known)


def format_duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def fold(line: str, width: int, indent: int) -> str:
    """The line broken where it has two spaces, so that its parts fit into `width` columns.

    Args:
      line: parts with two spaces between them.
      width: columns.
      indent: spaces before what goes on to the next line.
    """
    first, *rest = line.split("  ")
    folded = [first]
    for part in rest:
        longer = f"{folded[-1]}  {part}"
        if len(longer) <= width or not part.strip():
            folded[-1] = longer
        else:
            folded.append(" " * indent + part.strip())
    return "\n".join(folded)


def is_terminal(stream: TextIO) -> bool:
    """Whether lines can be drawn over again there."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def format_summary(summary: Mapping[str, Any], path: Path | str, report: str = "") -> str:
    """The closing table of a run, and the name of its report in the folder if there is one."""
    rows = [("data set", summary["dataset"]), ("auxiliary", summary["auxiliary"])]
    status = f"{summary['status']} after {summary['steps']} steps"
    rows += [("status", status + "; the same command continues" * (summary["status"] == "interrupted"))]
    rows += [(split, fold(format_metrics(values), WIDTH - 12, 12)) for split, values in summary["results"].items()]
    if "seconds" in summary:
        rows += [("time", format_duration(summary["seconds"]))]
    rows += [("folder", str(path))]
    rows += [("report", f"{path}/{report}")] if report else []
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


class Progress:
    """Shows a run on a stream; on a terminal, lines are written above the bar.

    Args:
      stream: where to; standard error by default, so that standard output holds results only.
      now: the time in seconds.

    Examples:
      >>> import sys
      >>> Progress(sys.stdout).log("train", 50, {"accuracy": 0.613, "gradient_norm": 0.84}, remaining=None)
      train 50/0  accuracy 61.3 %  |grad| 0.84
    """

    def __init__(self, stream: TextIO | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._now = stream or sys.stderr, now
        self._bar: tqdm | None = None
        self._total = 0
        self._phase, self._since, self._counted = "", 0.0, 0
        self._metrics = ""

    def begin(self, plan: Plan, step: int) -> None:
        self._total, self._phase = plan.total_steps, ""
        self._bar = tqdm(
            desc="compiling ",
            total=plan.total_steps,
            initial=step,
            file=self._stream,
            disable=not is_terminal(self._stream),
            dynamic_ncols=True,
            leave=False,
            # No word of tqdm's on the time left, for which it counts the steps that compile, too.
            bar_format="{desc}|{bar}| {n}/{total}{postfix}",
        )

    def advance(self, phase: str) -> None:
        """One more step is complete."""
        if self._bar is None:
            return
        if phase != self._phase:  # the first step of a phase compiles
            self._phase, self._since, self._counted = phase, self._now(), 0
        else:
            self._counted += 1
        self._bar.set_description_str(f"{phase} ", refresh=False)
        self._bar.set_postfix_str(f"{self._time_left()}{self._metrics}", refresh=False)
        self._bar.update()

    def _time_left(self) -> str:
        """How long the steps that are left will take, evaluations and all; nothing while that is not known."""
        if self._bar is None or not self._counted:
            return ""
        seconds = (self._now() - self._since) / self._counted
        return f"ETA {format_duration(seconds * (self._total - self._bar.n - 1))} "

    def log(self, phase: str, step: int, values: Mapping[str, float], remaining: float | None) -> None:
        """Shows training metrics: in the bar, or as a line with the time that the run will still take, in seconds."""
        if self._bar is not None and not self._bar.disable:
            shown = [metric for metric in METRICS.values() if metric.bar and metric.name in values]
            self._metrics = " ".join(metric.format_bar(values[metric.name]) for metric in shown)
        else:
            time_left = "" if remaining is None else f"  ETA {format_duration(remaining)}"
            self.say(f"{phase} {step}/{self._total}  {format_metrics(values)}{time_left}")

    def say(self, line: str) -> None:
        """Writes a line of its own; on a terminal that is too narrow for it, several."""
        if is_terminal(self._stream):
            line = fold(line, shutil.get_terminal_size((WIDTH, 24)).columns, indent=2)
        if self._bar is None or self._bar.disable:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.write(line, file=self._stream)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


@contextlib.contextmanager
def unseen_progress() -> Iterator[Progress]:
    """Shows nothing to anybody."""
    with open(os.devnull, "w") as nowhere:
        yield Progress(nowhere)
