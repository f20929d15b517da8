"""The training loop: takes the steps of a run, logs, evaluates and saves."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aux_rnn.distributed import ProcessGroup
from aux_rnn.errors import OneLineError
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.metrics import Metrics
from aux_rnn.plots.reconstructions.plotter import make_reconstruction_plotter
from aux_rnn.storage.checkpoints import digest
from aux_rnn.system.signals import StopRequest
from aux_rnn.system.timing import Speed
from aux_rnn.training.dispatch import Dispatch, Dispatcher
from aux_rnn.training.evaluation import evaluate_split
from aux_rnn.training.experiment import Experiment, require_same_data
from aux_rnn.training.optimizer import make_learning_rate
from aux_rnn.training.outputs import NullOutputs
from aux_rnn.training.progress import Progress, format_metrics
from aux_rnn.training.sharding import broadcast, replicate
from aux_rnn.training.statistics import RunStats
from aux_rnn.training.steps import NO_STEP, TrainState, create_train_state


class TrainingError(OneLineError):
    """The run cannot go on. The text says why, in one line.

    Examples:
      >>> from pathlib import Path
      >>> require_finite(jax.numpy.int32(3), NullOutputs(Path("runs/mine")))
      Traceback (most recent call last):
      aux_rnn.training.loop.TrainingError: step 3: the loss or its gradient is not finite; ...
    """


def require_finite(first_nonfinite_step: jax.Array, files: NullOutputs) -> None:
    """Raises TrainingError if the loss or a gradient of any step so far was not finite."""
    bad = int(first_nonfinite_step)
    if bad != NO_STEP:
        remedy = "try a smaller learning_rate"
        if checkpoint := files.latest_checkpoint_path():
            remedy = f"the last good checkpoint is {checkpoint}; {remedy} in another folder"
        raise TrainingError(f"step {bad}: the loss or its gradient is not finite; {remedy}")


@dataclasses.dataclass(frozen=True)
class PendingSteps:
    """Steps in progress, which the host logs while the devices compute the next ones.

    They hold copies, because the next dispatch reuses the memory of the state. `marker` is ready once all `count` steps
    are complete, the last of which has this `number`, from 1. `logged` holds the metrics and the first bad step (see
    `TrainState`) if they are to be logged after it.
    """

    number: int
    count: int
    phase: str
    marker: jax.Array
    logged: tuple[Metrics, jax.Array] | None

    @classmethod
    def of(cls, state: TrainState, number: int, count: int, phase: str, is_logged: bool) -> "PendingSteps":
        logged = (state.metrics, state.first_nonfinite_step) if is_logged else None
        return cls(number, count, phase, *jax.tree.map(jnp.copy, (state.step, logged)))


class Loop:
    """Trains from the newest checkpoint, or from the first step if there is none.

    `plan.py` decides after which steps to log, evaluate and save.

    Attributes:
      state: the training state after `step` steps, on all devices.
      step: the number of steps that were started; all except those of the last dispatch are complete.
      stats: what the run has measured.
    """

    def __init__(
        self,
        experiment: Experiment,
        dispatcher: Dispatcher,
        files: NullOutputs,
        progress: Progress,
        processes: ProcessGroup,
        stop: StopRequest,
    ) -> None:
        self.experiment, self.files, self.progress, self.processes = experiment, files, progress, processes
        self._dispatcher, self._stop = dispatcher, stop
        state, meta = restore(experiment, files, processes)
        self.state: TrainState = replicate(broadcast(state))
        self.step = int(self.state.step)
        self.stats = RunStats.restore(meta, experiment)
        records = meta["records"] if meta else 0
        processes.run_on_all(lambda: files.open(self.step, self.stats.is_evaluated, records))
        # The step of the newest checkpoint, and whether it holds the evaluation that is due after that step.
        self._saved = self.step, self.stats.is_evaluated
        self._pending: PendingSteps | None = None
        config, plan = experiment.config, experiment.plan
        self._learning_rate = make_learning_rate(config.optimizer, plan)
        self._speed = {phase: Speed(self.stats.clock, phase) for phase in ("pretrain", "train")}
        self._plot = make_reconstruction_plotter(
            config, experiment.spec, experiment.splits, experiment.permutation, plan.total_steps
        )
        if self.step:
            progress.say(f"continues after step {self.step} of {plan.total_steps}")

    def run(self) -> dict[str, Any]:
        """Takes the remaining steps, writes `summary.json` and returns its content.

        Stops after the current dispatch with a checkpoint when asked to. Raises TrainingError, and StorageError of an
        address.
        """
        try:
            self.train()
            params = jax.device_get(self.state.params)
            summary = {
                **self.stats.describe(self.step),
                "parameters": optax.tree.size(params),
                "params_digest": digest(params),
            }
            self.files.finish(summary)
        except Exception:
            # The step that failed may have consumed the parameters, whose memory it reuses.
            self.files.write_failed_summary({**self.stats.describe(self.step), "status": "failed"})
            raise
        finally:
            self.progress.end()
        self._stop.is_over = True
        return summary

    def train(self) -> None:
        """Takes the remaining steps and leaves a checkpoint of the last one."""
        self.progress.begin(self.experiment.plan, self.step)
        dispatch = self.prepare()
        if not self.stats.is_evaluated:
            self.evaluate()
        while self.step < self.experiment.plan.total_steps and not self.is_stopping():
            dispatch = self.take_steps(dispatch)
            self.evaluate_and_save()
        if self._saved != (self.step, self.stats.is_evaluated):
            self.save()

    def is_stopping(self) -> bool:
        """Returns whether to stop now, the same in all processes; all of them call this at the same points."""
        return self.processes.is_stopping(bool(self._stop))

    def prepare(self) -> Dispatch:
        """Returns the next dispatch, which ends at the latest where the run logs, evaluates, saves or changes phase."""
        return self._dispatcher.prepare(self.step, self.experiment.plan.steps_until_due(self.step))

    def take_steps(self, dispatch: Dispatch) -> Dispatch:
        """Starts the steps of a dispatch and completes those before it; returns the next dispatch."""
        plan, count = self.experiment.plan, dispatch.count
        phase = plan.phase(self.step)
        with self.stats.clock.section(phase, entries=0):
            self.state = self._dispatcher.start(phase, self.state, dispatch)
            self.step += count
            started = PendingSteps.of(self.state, self.step, count, phase, plan.should_log(self.step))
            dispatch = self.prepare()
        self.complete_pending_steps()
        self._pending = started
        return dispatch

    def complete_pending_steps(self) -> None:
        """Waits for the steps that were started last and logs them."""
        if self._pending is None:
            return
        steps, self._pending = self._pending, None
        with self.stats.clock.section(steps.phase, entries=steps.count):
            jax.block_until_ready(steps.marker)
        self.progress.advance(steps.phase, steps.count)
        if steps.logged is not None:
            metrics, first_nonfinite_step = steps.logged
            require_finite(first_nonfinite_step, self.files)
            self.log(steps.number, steps.phase, metrics)

    def finished_state(self) -> TrainState:
        """Returns the state once all steps are complete and logged. Raises TrainingError if it is not finite."""
        self.complete_pending_steps()
        require_finite(self.state.first_nonfinite_step, self.files)
        return self.state

    def log(self, step: int, phase: str, metrics: Metrics) -> None:
        """Logs the metrics since the last record, after `step` complete steps, the last one of which is in `phase`."""
        plan, speed = self.experiment.plan, self._speed[phase].read()
        values = metrics_lib.compute(metrics)
        values["learning_rate"] = float(self._learning_rate(step - 1))
        remaining = None
        if speed:  # else not known
            values["examples_per_second"] = speed * self.experiment.config.run.batch_size
            remaining = (plan.total_steps - step) / speed
        self.progress.log(phase, step, values, remaining)
        self._record("train", step, phase, values)
        if plan.log_every > 1:  # else no dispatch has several steps
            self._dispatcher.adapt(speed)

    def evaluate_and_save(self) -> None:
        """Evaluates and saves if that is due, after all records up to this step: a checkpoint stores their number."""
        plan, best = self.experiment.plan, self.stats.best
        if plan.should_evaluate(self.step):
            self.evaluate()
        is_best = best is not self.stats.best
        if self.stats.is_evaluated and (is_best or plan.should_checkpoint(self.step)):
            self.save()

    def evaluate(self) -> None:
        """Evaluates the validation split and, after the last step or where the settings say so, the test split.

        If the run is to stop meanwhile, nothing is recorded, and the next start evaluates instead.
        """
        step, state, run, plan = self.step, self.finished_state(), self.experiment.config.run, self.experiment.plan
        includes_test = step == plan.total_steps or run.evaluate_test
        self.stats.is_evaluated = False
        measured = {}
        for split in ("validation", "test") if includes_test else ("validation",):
            with self.stats.clock.section("evaluate"):
                values = evaluate_split(self.experiment, split, state, self.processes, self.is_stopping)
            if values is None:
                return
            measured[split] = values
        self.stats.is_evaluated = True
        phase = plan.phase(step - 1)
        for split, values in measured.items():
            if values:
                self.stats.results[split] = values
                self._record(split, step, phase, values)
                self.progress.say(f"{phase} {step}/{plan.total_steps}  {split}: {format_metrics(values)}")
        self.stats.update_best(step)
        if run.pictures and plan.should_draw(step):
            # In process 0, unless the run is to stop; the others continue and wait for it.
            with self.stats.clock.section("draw"):
                self.files.show(step, lambda: self._plot(state.params, step, lambda: bool(self._stop)))

    def save(self) -> None:
        """Saves the state together with the statistics."""
        state = self.finished_state()
        with self.stats.clock.section("checkpoint"):
            self.files.save(self.step, state, self.stats.to_meta())
        self._saved = self.step, self.stats.is_evaluated

    def _record(self, kind: str, step: int, phase: str, values: dict[str, float]) -> None:
        epoch = step / self.experiment.plan.steps_per_epoch
        self.files.record(kind, step, {"phase": phase, "epoch": epoch, **values, "seconds": self.stats.clock.total()})


def restore(
    experiment: Experiment, files: NullOutputs, processes: ProcessGroup
) -> tuple[TrainState, dict[str, Any] | None]:
    """Returns the state to begin with, which counts in process 0 only, and its meta data in every process, if any."""
    fresh = create_train_state(experiment.config, experiment.spec, experiment.plan)
    restored = processes.run_on_all(lambda: files.restore(fresh))
    meta = processes.broadcast(restored and restored[1])
    processes.run_on_all(lambda: require_same_data(files.path, meta or {}, experiment.splits))
    return (restored[0] if restored else fresh), meta
