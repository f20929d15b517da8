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
from aux_rnn.training.evaluation import training_batches
from aux_rnn.training.experiment import Experiment, require_same_data
from aux_rnn.training.outputs import NullOutputs
from aux_rnn.training.progress import Progress
from aux_rnn.training.sharding import broadcast, replicate, shard
from aux_rnn.training.statistics import RunStats
from aux_rnn.training.steps import NO_STEP, RawBatch, TrainState, create_train_state


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
class PendingStep:
    """A step that was started; the host logs it while the devices compute the next one, which reuses its memory.

    `marker` is ready once the step is complete, the one with this `number`, from 1. `logged` holds the metrics and the
    first bad step (see `TrainState`) if they are to be logged after this step.
    """

    number: int
    phase: str
    marker: jax.Array
    logged: tuple[Metrics, jax.Array] | None

    @classmethod
    def of(cls, state: TrainState, number: int, phase: str, is_logged: bool) -> "PendingStep":
        logged = (state.metrics, state.first_nonfinite_step) if is_logged else None
        return cls(number, phase, *jax.tree.map(jnp.copy, (state.step, logged)))


class Loop:
    """Trains from the newest checkpoint, or from the first step if there is none.

    Attributes:
      state: the training state after `step` steps, on all devices.
      step: the number of steps that were started; all except the last one are complete.
      stats: what the run has measured.
    """

    def __init__(
        self, experiment: Experiment, files: NullOutputs, progress: Progress, processes: ProcessGroup, stop: StopRequest
    ) -> None:
        self.experiment, self.files, self.stop = experiment, files, stop
        state, meta = restore(experiment, files, processes)
        self.state: TrainState = replicate(broadcast(state))
        self.step = int(self.state.step)
        self.stats = RunStats.restore(meta, experiment.splits)
        records = meta["records"] if meta else 0
        processes.run_on_all(lambda: files.open(self.step, self.stats.is_evaluated, records))
        saved = self.step, self.stats.is_evaluated
        self._actions = Actions(experiment, self.stats, files, progress, processes, stop, saved)
        self._pending: PendingStep | None = None
        self._batches = training_batches(experiment, processes)
        if self.step:
            progress.say(f"continues after step {self.step} of {experiment.plan.total_steps}")

    def train(self) -> None:
        """Takes the remaining steps, or stops after the current one with a checkpoint when asked to."""
        plan = self.experiment.plan
        self._actions.progress.begin(plan, self.step)
        batch = shard(self._batches[self.step])
        if not self.stats.is_evaluated:
            self._actions.evaluate(self.step, self.finished_state().params)
        while self.step < plan.total_steps and not self._actions.is_stopping():
            batch = self.take_step(batch)
            self.run_periodic_actions()
        state = self.finished_state()
        if self._actions.saved != (self.step, self.stats.is_evaluated):
            self._actions.save(self.step, state)

    def take_step(self, batch: RawBatch) -> RawBatch:
        """Starts a step and completes the one before it; returns the batch of the next step."""
        phase, steps = self.experiment.plan.phase(self.step), self.experiment.steps
        take = steps.pretrain if phase == "pretrain" else steps.train
        with self.stats.clock.section(phase, entries=0):
            self.state = take(self.state, batch)
            self.step += 1
            started = PendingStep.of(self.state, self.step, phase, self.experiment.plan.should_log(self.step))
            batch = shard(self._batches[self.step])
        self.complete_pending_step()
        self._pending = started
        return batch

    def complete_pending_step(self) -> None:
        """Waits for the step that was started last and logs it."""
        if self._pending is None:
            return
        step, self._pending = self._pending, None
        with self.stats.clock.section(step.phase):
            jax.block_until_ready(step.marker)
        self._actions.progress.advance(step.phase)
        if step.logged is not None:
            metrics, first_nonfinite_step = step.logged
            require_finite(first_nonfinite_step, self.files)
            self._actions.log(step.number, step.phase, metrics)

    def finished_state(self) -> TrainState:
        """Returns the state once the latest step is complete and logged. Raises TrainingError if it is not finite."""
        self.complete_pending_step()
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
