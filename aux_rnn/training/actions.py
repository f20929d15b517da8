"""The periodic actions of a run: log metrics, evaluate, and save checkpoints. The loop decides when each is due."""

import dataclasses
from typing import Any

from aux_rnn.distributed import ProcessGroup
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.metrics import Metrics
from aux_rnn.plots.reconstructions.plotter import make_reconstruction_plotter
from aux_rnn.system.signals import StopRequest
from aux_rnn.system.timing import Speed
from aux_rnn.training.evaluation import batches_of, evaluate_split, without_untrained
from aux_rnn.training.experiment import Experiment
from aux_rnn.training.optimizer import make_learning_rate
from aux_rnn.training.outputs import NullOutputs
from aux_rnn.training.progress import Progress, format_metrics
from aux_rnn.training.statistics import RunStats
from aux_rnn.training.steps import TrainState


@dataclasses.dataclass
class Actions:
    """Logs, evaluates and saves what the loop has trained.

    Attributes:
      saved: the step of the newest checkpoint, and whether it holds the evaluation that is due after that step.
    """

    experiment: Experiment
    stats: RunStats
    files: NullOutputs
    progress: Progress
    processes: ProcessGroup
    stop: StopRequest
    saved: tuple[int, bool]

    def __post_init__(self) -> None:
        run = self.experiment
        self._learning_rate = make_learning_rate(run.config.optimizer, run.plan)
        self._speed = {phase: Speed(self.stats.clock, phase) for phase in ("pretrain", "train")}
        self._plot = make_reconstruction_plotter(
            run.config, run.spec, run.splits, run.permutation, run.plan.total_steps
        )

    def is_stopping(self) -> bool:
        """Returns whether to stop now, the same in all processes; all of them call this at the same points."""
        return self.processes.is_stopping(bool(self.stop))

    def log(self, step: int, phase: str, metrics: Metrics) -> float:
        """Logs the metrics since the last record, after `step` complete steps, the last one of which is in `phase`.

        Returns the steps per second, 0 if they are not known.
        """
        speed = self._speed[phase].read()
        values = metrics_lib.compute(metrics)
        values["learning_rate"] = float(self._learning_rate(step - 1))
        remaining = None
        if speed:
            values["examples_per_second"] = speed * self.experiment.config.run.batch_size
            remaining = (self.experiment.plan.total_steps - step) / speed
        self.progress.log(phase, step, values, remaining)
        self._record("train", step, phase, values)
        return speed

    def evaluate(self, step: int, params: Any) -> None:
        """Evaluates the validation split and, after the last step or where the settings say so, the test split.

        If the run is to stop meanwhile, nothing is recorded, and the next start evaluates instead.
        """
        config, plan = self.experiment.config, self.experiment.plan
        includes_test = step == plan.total_steps or config.run.evaluate_test
        self.stats.is_evaluated = False
        measured = {}
        for split in ("validation", "test") if includes_test else ("validation",):
            batches = batches_of(self.experiment, split, self.processes)
            with self.stats.clock.section("evaluate"):
                values = evaluate_split(self.experiment.steps.evaluate, params, batches, self.is_stopping)
            if values is None:
                return
            measured[split] = values
        self.stats.is_evaluated = True
        for split, values in measured.items():
            self._record_evaluation(split, step, values)
        self.stats.update_best(step)
        if config.run.pictures and plan.should_draw(step):
            # In process 0, unless the run is to stop; the others continue and wait for it.
            with self.stats.clock.section("draw"):
                self.files.show(step, lambda: self._plot(params, step, lambda: bool(self.stop)))

    def save(self, step: int, state: TrainState) -> None:
        """Saves the state after `step` complete steps together with the statistics."""
        with self.stats.clock.section("checkpoint"):
            self.files.save(step, state, self.stats.to_meta())
        self.saved = step, self.stats.is_evaluated

    def _record_evaluation(self, split: str, step: int, values: dict[str, float]) -> None:
        phase = self.experiment.plan.phase(step - 1)
        if values := without_untrained(values, phase):
            self.stats.results[split] = values
            self._record(split, step, phase, values)
            total = self.experiment.plan.total_steps
            self.progress.say(f"{phase} {step}/{total}  {split}: {format_metrics(values)}")

    def _record(self, kind: str, step: int, phase: str, values: dict[str, float]) -> None:
        epoch = step / self.experiment.plan.steps_per_epoch
        self.files.record(kind, step, {"phase": phase, "epoch": epoch, **values, "seconds": self.stats.clock.total()})
