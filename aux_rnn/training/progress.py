"""Shows a run: a progress bar on a terminal, plain lines anywhere else."""

import contextlib
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from aux_rnn.model.metric_names import METRICS
from aux_rnn.system.timing import format_duration
from aux_rnn.training.plan import Plan

WIDTH = 80  # columns of a terminal that does not report its size
NO_BREAK_SPACE = "\u00a0"
MIN_BAR = 16  # columns of the bar that metrics leave free


def format_metrics(values: Mapping[str, float | None]) -> str:
    """Returns 'accuracy 61.3 %  supervised 1.204  |grad| 0.84'."""
    known = {name: math.nan if value is None else value for name, value in values.items()}  # null in `summary.json`
    return "  ".join(metric.format_line(known[name]) for name, metric in METRICS.items() if name in known)


def wrap_line(line: str, width: int, indent: int) -> str:
    """Breaks a line where it has two spaces into lines of at most `width` columns, the later ones indented."""
    parts = re.sub(r"(?<! ) (?! )", NO_BREAK_SPACE, line)
    options: dict[str, Any] = dict(break_long_words=False, break_on_hyphens=False)
    wrapped = textwrap.fill(parts, width, subsequent_indent=" " * indent, **options)
    return wrapped.replace(NO_BREAK_SPACE, " ")


def is_terminal(stream: TextIO) -> bool:
    """Returns whether lines can be redrawn there."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def format_summary(summary: Mapping[str, Any], path: Path | str, report: str = "") -> str:
    """Formats the closing table of a run, with the name of its report in the folder if there is one."""
    rows = [("data set", summary["dataset"]), ("auxiliary", summary["auxiliary"])]
    status = f"{summary['status']} after {summary['steps']} steps"
    rows += [("status", status + "; the same command continues" * (summary["status"] == "interrupted"))]
    rows += [(split, wrap_line(format_metrics(values), WIDTH - 12, 12)) for split, values in summary["results"].items()]
    if "seconds" in summary:
        rows += [("time", format_duration(summary["seconds"]))]
    rows += [("folder", str(path))]
    rows += [("report", f"{path}/{report}")] if report else []
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


class Progress:
    """Shows a run on a stream; on a terminal, lines are written above the bar.

    Args:
      stream: standard error by default, so that standard output holds results only.

    Examples:
      >>> import sys
      >>> Progress(sys.stdout).log("train", 50, {"accuracy": 0.613, "gradient_norm": 0.84}, remaining=None)
      train 50/0  accuracy 61.3 %  |grad| 0.84
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None
        self._total = 0

    def is_on_terminal(self) -> bool:
        """Returns whether the run is shown to somebody who can press keys."""
        return is_terminal(self._stream)

    def begin(self, plan: Plan, step: int) -> None:
        """Opens the bar on a terminal; its estimate of the time left does not include the compilation before."""
        self._total = plan.total_steps
        if is_terminal(self._stream):
            self._bar = tqdm(
                desc="starting ",
                total=plan.total_steps,
                initial=step,
                file=self._stream,
                disable=False,  # not by TQDM_DISABLE either, as the metrics are part of the bar
                dynamic_ncols=True,
                leave=False,
                smoothing=0.02,  # over some 50 updates, so that the phases count by their own speed
                bar_format="{desc}|{bar}| {n}/{total} ETA {remaining}{postfix}",
            )

    def advance(self, phase: str, count: int) -> None:
        """Counts complete steps."""
        if self._bar is not None:
            self._bar.set_description_str(f"{phase} ", refresh=False)
            self._bar.update(count)

    def log(self, phase: str, step: int, values: Mapping[str, float], remaining: float | None) -> None:
        """Shows training metrics in the bar or, where there is none, as a line with the seconds left."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._fit_metrics(values), refresh=False)
        else:
            time_left = "" if remaining is None else f"  ETA {format_duration(remaining)}"
            self.say(f"{phase} {step}/{self._total}  {format_metrics(values)}{time_left}")

    def _fit_metrics(self, values: Mapping[str, float]) -> str:
        """Returns as many metrics as leave the bar `MIN_BAR` columns."""
        others = len(f"pretrain || {self._total}/{self._total} ETA 1:00:00, ")
        room = shutil.get_terminal_size((WIDTH, 24)).columns - others - MIN_BAR
        shown = ""
        for metric in (metric for metric in METRICS.values() if metric.bar and metric.name in values):
            text = metric.format_bar(values[metric.name])
            if len(longer := f"{shown} {text}".strip()) > room:
                break
            shown = longer
        return shown

    def say(self, line: str) -> None:
        """Writes a line, above the bar if there is one; a line that is too long for a terminal is wrapped."""
        if is_terminal(self._stream):
            line = wrap_line(line, shutil.get_terminal_size((WIDTH, 24)).columns, indent=2)
        if self._bar is None:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.write(line, file=self._stream)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


@contextlib.contextmanager
def null_progress() -> Iterator[Progress]:
    """Provides a `Progress` that shows nothing."""
    with open(os.devnull, "w") as null:
        yield Progress(null)
