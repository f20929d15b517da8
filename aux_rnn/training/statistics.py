"""The statistics of a run: results, seconds and memory. Checkpoints store them, so they cover all starts of the run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from aux_rnn.config.fields import format_value
from aux_rnn.system.machine import describe_machine, usable_cores
from aux_rnn.system.memory import describe_devices, peak_memory_mib
from aux_rnn.system.timing import Clock
from aux_rnn.training.experiment import Experiment


@dataclasses.dataclass
class RunStats:
    """Holds what a run has measured so far.

    Attributes:
      experiment: the run.
      clock: seconds by section.
      results: metrics of the latest evaluation of each split.
      best: `step` and `validation_accuracy` of the evaluation with the highest accuracy; None before the first one.
      is_evaluated: False while an evaluation that is due after the latest step has not been made, because the run is
        to stop; the next start makes it.
      earlier_peak_mib: the peak memory of earlier processes, in MiB.
    """

    experiment: Experiment
    clock: Clock = dataclasses.field(default_factory=Clock)
    results: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    best: dict[str, float] | None = None
    is_evaluated: bool = True
    earlier_peak_mib: float = 0.0

    @classmethod
    def restore(cls, meta: Mapping[str, Any] | None, experiment: Experiment) -> "RunStats":
        """Returns the statistics in a checkpoint's meta data, or those of a new run for None."""
        if meta is None:
            return cls(experiment)
        clock = Clock(meta["seconds"], meta["entries"])
        return cls(experiment, clock, meta["results"], meta["best"], meta["is_evaluated"], meta["peak_memory_mib"])

    def to_meta(self) -> dict[str, Any]:
        """Returns the meta data of a checkpoint."""
        return {
            "seconds": dict(self.clock.seconds),
            "entries": dict(self.clock.entries),
            "peak_memory_mib": self.peak_mib(),
            "results": self.results,
            "examples": self.experiment.splits.counts(),
            "data": self.experiment.splits.fingerprint,
            "best": self.best,
            "is_evaluated": self.is_evaluated,
        }

    def peak_mib(self) -> float:
        """Returns the peak memory of all processes of the run so far, in MiB."""
        return max(self.earlier_peak_mib, peak_memory_mib())

    def update_best(self, step: int) -> None:
        """Records the step as the best one if its accuracy on the validation split is the highest so far."""
        accuracy = self.results.get("validation", {}).get("accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best["validation_accuracy"]):
            self.best = {"step": step, "validation_accuracy": accuracy}

    def describe(self, step: int) -> dict[str, Any]:
        """Returns `summary.json` after `step` steps, without the parts about parameters; accuracies from 0 to 1."""
        config, is_last = self.experiment.config, step == self.experiment.plan.total_steps
        return {
            "dataset": config.data.dataset,
            "auxiliary": config.model.auxiliary,
            "encoder": format_value(config.model.encoder),
            "seed": config.run.seed,
            "examples": self.experiment.splits.counts(),
            "status": "complete" if is_last and self.is_evaluated else "interrupted",
            "steps": step,
            "test_accuracy": self.results.get("test", {}).get("accuracy"),
            "validation_accuracy": self.results.get("validation", {}).get("accuracy"),
            "best": self.best,
            "results": self.results,
            "seconds": round(self.clock.total(), 3),
            "seconds_by_section": {name: round(s, 3) for name, s in self.clock.seconds.items()},
            "seconds_per_step": self.clock.mean("train"),  # of joint training, without compilation
            "peak_memory_mib": round(self.peak_mib(), 1),
            "machine": describe_machine(len(usable_cores())),
            "devices": describe_devices(),
            "jax": jax.__version__,
        }
