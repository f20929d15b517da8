"""The periodic actions of a run: log metrics, evaluate, and save checkpoints. The loop decides when each is due."""

import dataclasses
from typing import Any

from aux_rnn.distributed import ProcessGroup
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.metric_names import CLASSIFIER_METRICS
from aux_rnn.model.metrics import Metrics
from aux_rnn.plots.reconstructions.plotter import make_reconstruction_plotter
from aux_rnn.system.signals import StopRequest
from aux_rnn.system.timing import Speed
from aux_rnn.training.evaluation import batches_of, evaluate_split
from aux_rnn.training.experiment import Experiment
from aux_rnn.training.optimizer import make_learning_rate
from aux_rnn.training.outputs import NullOutputs
from aux_rnn.training.progress import Progress, format_metrics
from aux_rnn.training.statistics import RunStats
from aux_rnn.training.steps import TrainState

UNTRAINED = ("supervised_loss", *CLASSIFIER_METRICS)  # in pretraining


@dataclasses.dataclass(frozen=True)
class RunContext:
    """Holds what the loop and its actions share."""

    experiment: Experiment
    stats: RunStats
    files: NullOutputs
    progress: Progress
    processes: ProcessGroup
    stop: StopRequest

    def is_stopping(self) -> bool:
        """Returns whether to stop now, the same in all processes; all of them call this at the same points."""
        return self.processes.is_stopping(bool(self.stop))

    def record(self, kind: str, step: int, phase: str, values: dict[str, float]) -> None:
        """Appends a record to `metrics.jsonl`."""
        epoch = step / self.experiment.plan.steps_per_epoch
        self.files.record(kind, step, {"phase": phase, "epoch": epoch, **values, "seconds": self.stats.clock.total()})


class LogMetrics:
    """Records and shows the training metrics of complete steps."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._learning_rate = make_learning_rate(context.experiment.config.optimizer, context.experiment.plan)
        self._speed = {phase: Speed(context.stats.clock, phase) for phase in ("pretrain", "train")}

    def __call__(self, step: int, phase: str, metrics: Metrics) -> None:
        """Logs the metrics since the last record, after `step` complete steps, the last one of which is in `phase`."""
        context = self._context
        speed = self._speed[phase].read()
        values = metrics_lib.compute(metrics)
        values["learning_rate"] = float(self._learning_rate(step - 1))
        remaining = None
        if speed:
            values["examples_per_second"] = speed * context.experiment.config.run.batch_size
            remaining = (context.experiment.plan.total_steps - step) / speed
        context.progress.log(phase, step, values, remaining)
        context.record("train", step, phase, values)


class Evaluate:
    """Evaluates the validation split and, after the last step or where the settings say so, the test split."""

    def __init__(self, context: RunContext) -> None:
        self._context = context
        run = context.experiment
        self._plot = make_reconstruction_plotter(
            run.config, run.spec, run.splits, run.permutation, run.plan.total_steps
        )

    def __call__(self, step: int, params: Any) -> None:
        """Records the metrics of the splits; if the run is to stop meanwhile, the next start evaluates instead."""
        context, stats = self._context, self._context.stats
        config, plan = context.experiment.config, context.experiment.plan
        stats.is_evaluated = False
        splits = ["validation"]
        if step == plan.total_steps or config.run.evaluate_test:
            splits.append("test")
        measured = {split: self.measure(split, step, params) for split in splits}
        if any(values is None for values in measured.values()):
            return
        stats.is_evaluated = True
        for split, values in measured.items():
            self._record(split, step, values or {})
        stats.update_best(step)
        if config.run.pictures and plan.should_draw(step):
            self._draw(step, params)

    def measure(self, split: str, step: int, params: Any) -> dict[str, float] | None:
        """Computes the metrics of a split after a step; returns None if the run is to stop."""
        context = self._context
        batches = batches_of(context.experiment, split, context.processes)
        with context.stats.clock.section("evaluate"):
            return evaluate_split(context.experiment.steps.evaluate, params, batches, context.is_stopping)

    def _record(self, split: str, step: int, values: dict[str, float]) -> None:
        context, plan = self._context, self._context.experiment.plan
        phase = plan.phase(step - 1)
        if phase == "pretrain":  # The classifier has not been trained yet.
            values = {name: value for name, value in values.items() if name not in UNTRAINED}
        if values:
            context.stats.results[split] = values
            context.record(split, step, phase, values)
            context.progress.say(f"{phase} {step}/{plan.total_steps}  {split}: {format_metrics(values)}")

    def _draw(self, step: int, params: Any) -> None:
        """Draws reconstructions in process 0, unless the run is to stop; the others continue and wait for it."""
        context = self._context
        with context.stats.clock.section("draw"):
            context.files.show(step, lambda: self._plot(params, step, lambda: bool(context.stop)))


class SaveCheckpoint:
    """Saves the state together with the statistics."""

    def __init__(self, context: RunContext, step: int) -> None:
        self._context = context
        self._saved = step, context.stats.is_evaluated

    def __call__(self, step: int, state: TrainState) -> None:
        """Saves a checkpoint after `step` complete steps."""
        stats = self._context.stats
        with stats.clock.section("checkpoint"):
            self._context.files.save(step, state, stats.to_meta())
        self._saved = step, stats.is_evaluated

    def covers(self, step: int) -> bool:
        """Returns whether the newest checkpoint holds this step and its evaluation."""
        return self._saved == (step, self._context.stats.is_evaluated)
