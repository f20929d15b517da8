"""The training loop: takes the steps of a run and calls its periodic actions."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aux_rnn.distributed import ProcessGroup
from aux_rnn.errors import OneLineError
from aux_rnn.model.metrics import Metrics
from aux_rnn.storage.checkpoints import digest
from aux_rnn.system.signals import StopRequest
from aux_rnn.training.actions import Actions
from aux_rnn.training.dispatch import Dispatch, Dispatcher
from aux_rnn.training.experiment import Experiment, require_same_data
from aux_rnn.training.outputs import NullOutputs
from aux_rnn.training.progress import Progress
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
        checkpoint = files.latest_checkpoint_path()
        last, elsewhere = (
            (f"; the last good checkpoint is {checkpoint}", " in another folder") if checkpoint else ("", "")
        )
        raise TrainingError(
            f"step {bad}: the loss or its gradient is not finite{last}; try a smaller learning_rate{elsewhere}"
        )


@dataclasses.dataclass(frozen=True)
class PendingSteps:
    """Steps that were started; the host logs them while the devices compute the next ones, which reuse their memory.

    `marker` is ready once all `count` steps are complete, the last of which has this `number`, from 1. `logged` holds
    the metrics and the first bad step (see `TrainState`) if they are to be logged after it.
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
        self.experiment, self.files, self.stop, self._dispatcher = experiment, files, stop, dispatcher
        state, meta = restore(experiment, files, processes)
        self.state: TrainState = replicate(broadcast(state))
        self.step = int(self.state.step)
        self.stats = RunStats.restore(meta, experiment.splits)
        records = meta["records"] if meta else 0
        processes.run_on_all(lambda: files.open(self.step, self.stats.is_evaluated, records))
        saved = self.step, self.stats.is_evaluated
        self._actions = Actions(experiment, self.stats, files, progress, processes, stop, saved)
        self._pending: PendingSteps | None = None
        if self.step:
            progress.say(f"continues after step {self.step} of {experiment.plan.total_steps}")

    def train(self) -> None:
        """Takes the remaining steps, or stops after the current dispatch with a checkpoint when asked to."""
        plan = self.experiment.plan
        self._actions.progress.begin(plan, self.step)
        dispatch = self.prepare()
        if not self.stats.is_evaluated:
            self._actions.evaluate(self.step, self.finished_state().params)
        while self.step < plan.total_steps and not self._actions.is_stopping():
            dispatch = self.take_steps(dispatch)
            self.run_periodic_actions()
        state = self.finished_state()
        if self._actions.saved != (self.step, self.stats.is_evaluated):
            self._actions.save(self.step, state)

    def prepare(self) -> Dispatch:
        """Returns the next dispatch, which ends at the latest where the run has something else to do."""
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
        self._actions.progress.advance(steps.phase, steps.count)
        if steps.logged is not None:
            metrics, first_nonfinite_step = steps.logged
            require_finite(first_nonfinite_step, self.files)
            speed = self._actions.log(steps.number, steps.phase, metrics)
            if self.experiment.plan.log_every > 1:  # else no dispatch has several steps
                self._dispatcher.adapt(speed)

    def finished_state(self) -> TrainState:
        """Returns the state once all steps are complete and logged. Raises TrainingError if it is not finite."""
        self.complete_pending_steps()
        require_finite(self.state.first_nonfinite_step, self.files)
        return self.state

    def run_periodic_actions(self) -> None:
        """Evaluates and saves if that is due, after all records up to this step, as a checkpoint counts them."""
        plan, best = self.experiment.plan, self.stats.best
        if plan.should_evaluate(self.step):
            self._actions.evaluate(self.step, self.finished_state().params)
        is_best = best is not self.stats.best
        if self.stats.is_evaluated and (is_best or plan.should_checkpoint(self.step)):
            self._actions.save(self.step, self.finished_state())

    def describe(self) -> dict[str, Any]:
        """Returns the part of the summary that is known at any time."""
        return self.stats.describe(self.experiment.config, self.step, self.experiment.plan.total_steps)

    def summary(self) -> dict[str, Any]:
        """Returns the content of `summary.json`."""
        params = jax.device_get(self.state.params)
        return {**self.describe(), "parameters": optax.tree.size(params), "params_digest": digest(params)}

    def close(self) -> None:
        """Ends the display of the run."""
        self._actions.progress.end()


def restore(
    experiment: Experiment, files: NullOutputs, processes: ProcessGroup
) -> tuple[TrainState, dict[str, Any] | None]:
    """Returns the state to begin with, which counts in process 0 only, and its meta data in every process, if any."""
    fresh = create_train_state(experiment.config, experiment.spec, experiment.plan)
    restored = processes.run_on_all(lambda: files.restore(fresh))
    meta = processes.broadcast(restored and restored[1])
    processes.run_on_all(lambda: require_same_data(files.path, meta or {}, experiment.splits))
    return (restored[0] if restored else fresh), meta
