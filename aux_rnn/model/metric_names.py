"""The metrics of a run: the name of each in `metrics.jsonl`, its label in figures and reports, its formats in lines.

A metric of the classifier needs an entry with `values` and nothing else: training and evaluation compute it, and runs
that were started without it continue with it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

AUXILIARY_UNIT = "unit of the auxiliary loss"  # nats or the squared error, by the settings


class Metric(NamedTuple):
    """A metric of training or evaluation.

    Attributes:
      name: key in `metrics.jsonl` and in the results of `summary.json`.
      label: name in figures and tables.
      unit: '%' or 'nats'; empty for a number without a unit.
      line: format of its part of a progress line.
      bar: format of its part of a progress bar; empty for those that have no room there.
      factor: converts a stored value to `unit`.
      panel: position among the panels of a figure of curves, from 1; 0 for those that are not drawn.
      scale: of the panel's vertical axis.
      values: computes the value of each example `[B]` from the logits `[B, K]` and the labels `[B]`; None for metrics
        that are not functions of these.
    """

    name: str
    label: str
    unit: str
    line: str
    bar: str = ""
    factor: float = 1.0
    panel: int = 0
    scale: str = "linear"
    values: Callable[[Any, Any], Any] | None = None

    def format_line(self, value: float) -> str:
        """Returns 'accuracy 61.3 %'."""
        return self.line.format(self.factor * value)

    def format_bar(self, value: float) -> str:
        """Returns 'acc 61.3%'."""
        return self.bar.format(self.factor * value)


# In the order in which progress lines show them.
METRICS = {
    metric.name: metric
    for metric in (
        Metric("loss", "loss", "", "loss {:.3g}"),
        Metric(
            "accuracy",
            "accuracy",
            "%",
            "accuracy {:.1f} %",
            "acc {:.1f}%",
            factor=100.0,
            panel=4,
            values=lambda logits, labels: logits.argmax(-1) == labels,
        ),
        Metric("supervised_loss", "supervised loss", "nats", "supervised {:.3g}", "sup {:.3g}", panel=1),
        Metric("reconstruct_loss", "reconstruction loss", AUXILIARY_UNIT, "reconstruct {:.3g}", "rec {:.3g}", panel=2),
        Metric("reconstruct_memory_gain", "memory gain, reconstruction", AUXILIARY_UNIT, "memory {:+.2g}"),
        Metric("predict_loss", "prediction loss", AUXILIARY_UNIT, "predict {:.3g}", "pre {:.3g}", panel=3),
        Metric("predict_memory_gain", "memory gain, prediction", AUXILIARY_UNIT, "memory {:+.2g}"),
        Metric("gradient_norm", "gradient norm, before clipping", "", "|grad| {:.2g}", panel=5, scale="log"),
        Metric("learning_rate", "learning rate", "", "rate {:.2g}"),
        Metric("examples_per_second", "examples per second", "", "{:,.0f} ex/s", "{:,.0f} ex/s"),
    )
}
DRAWN = tuple(sorted((metric for metric in METRICS.values() if metric.panel), key=lambda metric: metric.panel))
CLASSIFIER_METRICS = {name: metric.values for name, metric in METRICS.items() if metric.values}
