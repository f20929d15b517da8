"""What a person sees of a run: a progress bar on a terminal, plain lines anywhere else."""

import datetime
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from aux_rnn.plan import Plan

# The order in which metrics are shown, and how.
FORMATS: dict[str, Callable[[float], str]] = {
    "loss": lambda value: f"loss {value:.3g}",
    "supervised_loss": lambda value: f"supervised {value:.3g}",
    "reconstruct_loss": lambda value: f"reconstruct {value:.3g}",
    "predict_loss": lambda value: f"predict {value:.3g}",
    "reconstruct_memory_gain": lambda value: f"memory {value:+.2g}",
    "predict_memory_gain": lambda value: f"memory {value:+.2g}",
    "accuracy": lambda value: f"accuracy {100 * value:.1f} %",
    "gradient_norm": lambda value: f"|grad| {value:.2g}",
    "learning_rate": lambda value: f"rate {value:.2g}",
    "examples_per_second": lambda value: f"{value:,.0f} ex/s",
}


# The same, where a bar must fit beside them.
IN_BAR: dict[str, Callable[[float], str]] = {
    "supervised_loss": lambda value: f"sup {value:.3g}",
    "reconstruct_loss": lambda value: f"rec {value:.3g}",
    "predict_loss": lambda value: f"pre {value:.3g}",
    "accuracy": lambda value: f"acc {100 * value:.1f}%",
    "gradient_norm": lambda value: f"|g| {value:.1g}",
    "learning_rate": lambda value: f"lr {value:.0e}".replace("e-0", "e-"),
    "examples_per_second": lambda value: f"{value:,.0f}/s",
}


def format_metrics(values: Mapping[str, float]) -> str:
    """'supervised 1.204  accuracy 61.3 %  |grad| 0.84'."""
    return "  ".join(show(values[name]) for name, show in FORMATS.items() if name in values)


def format_duration(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


def format_summary(summary: Mapping[str, Any], path: Path | str) -> str:
    """The closing table of a run."""
    rows = [("data set", summary["dataset"]), ("auxiliary", summary["auxiliary"])]
    rows += [("status", f"{summary['status']} after {summary['steps']} steps")]
    rows += [(split, format_metrics(values)) for split, values in summary["results"].items()]
    if "seconds" in summary:
        rows += [("time", format_duration(summary["seconds"]))]
    rows += [("folder", str(path))]
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


class Progress:
    """Shows a run on a stream; on a terminal, lines are written above the bar.

    Args:
      stream: where to; standard error by default, so that standard output holds results only.

    Examples:
      >>> import sys
      >>> Progress(sys.stdout).log("train", 50, {"accuracy": 0.613, "gradient_norm": 0.84}, remaining=None)
      train 50/0  accuracy 61.3 %  |grad| 0.84
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None
        self._total = 0

    def begin(self, plan: Plan, step: int) -> None:
        self._total = plan.total_steps
        self._bar = tqdm(
            total=plan.total_steps,
            initial=step,
            file=self._stream,
            disable=not self._stream.isatty(),
            dynamic_ncols=True,
            leave=False,
            smoothing=0.05,
            bar_format="{desc}|{bar}| {n}/{total} {remaining}{postfix}",
        )

    def advance(self, phase: str) -> None:
        """One more step is complete."""
        if self._bar is not None:
            self._bar.set_description_str(f"{phase} ", refresh=False)
            self._bar.update()

    def log(self, phase: str, step: int, values: Mapping[str, float], remaining: float | None) -> None:
        """Shows training metrics: in the bar, or as a line with the time that the run will still take, in seconds."""
        if self._bar is not None and not self._bar.disable:
            self._bar.set_postfix_str(" ".join(show(values[name]) for name, show in IN_BAR.items() if name in values))
        else:
            time_left = "" if remaining is None else f"  ETA {format_duration(remaining)}"
            self.say(f"{phase} {step}/{self._total}  {format_metrics(values)}{time_left}")

    def say(self, line: str) -> None:
        """Writes a line of its own."""
        if self._bar is None or self._bar.disable:
            print(line, file=self._stream, flush=True)
        else:
            self._bar.write(line, file=self._stream)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None
