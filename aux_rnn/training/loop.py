"""A run in progress: the loop over its steps, and what is due between them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from aux_rnn.datasets import train_batches
from aux_rnn.distributed import ProcessGroup
from aux_rnn.errors import OneLineError
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.metrics import Metrics
from aux_rnn.model.network import count_parameters
from aux_rnn.plots.reconstructions.plotter import make_reconstruction_plotter
from aux_rnn.storage.checkpoints import digest
from aux_rnn.system.machine import describe_machine, usable_cores
from aux_rnn.system.memory import describe_devices, peak_memory_mib
from aux_rnn.system.signals import StopRequest
from aux_rnn.system.timing import Clock, Speed
from aux_rnn.training.evaluation import batches_of, evaluate_split
from aux_rnn.training.experiment import Experiment, require_same_data
from aux_rnn.training.optimizer import make_learning_rate
from aux_rnn.training.outputs import NullOutputs
from aux_rnn.training.progress import Progress, format_metrics
from aux_rnn.training.sharding import broadcast, replicate, shard
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
        raise TrainingError(
            f"step {bad}: the loss or its gradient is not finite; the last good checkpoint is "
            f"{files.latest_checkpoint_path()}; try a smaller --learning_rate or --clip_norm, with another --workdir"
        )


@dataclasses.dataclass(frozen=True)
class PendingStep:
    """A step that was started; the next one reuses the memory of its state.

    The host records a step while the devices compute the next one, so that they need not wait for it.

    Attributes:
      number: complete steps after it.
      phase: 'pretrain' or 'train'.
      marker: an array that is ready once the step is complete.
      recorded: the metrics and the first bad step (see `TrainState`), if they are to be recorded after this step.
    """

    number: int
    phase: str
    marker: jax.Array
    recorded: tuple[Metrics, jax.Array] | None

    @classmethod
    def of(cls, state: TrainState, number: int, phase: str, is_recorded: bool) -> "PendingStep":
        recorded = (state.metrics, state.first_nonfinite_step) if is_recorded else None
        return cls(number, phase, *jax.tree.map(jnp.copy, (state.step, recorded)))


class Run:
    """A run in progress: its state, what it has measured, and where it writes."""

    def __init__(
        self, experiment: Experiment, files: NullOutputs, progress: Progress, processes: ProcessGroup, stop: StopRequest
    ) -> None:
        self.experiment = experiment
        self.config, self.plan, self.steps = experiment.config, experiment.plan, experiment.steps
        self.splits = experiment.splits
        self.plot = make_reconstruction_plotter(
            self.config, experiment.spec, self.splits, experiment.permutation, self.plan.total_steps
        )
        self.files, self.progress, self.processes, self.stop = files, progress, processes, stop
        self.learning_rate = make_learning_rate(self.config.optimizer, self.plan)
        self.pending: PendingStep | None = None
        state, meta = self.restore(create_train_state(self.config, experiment.spec, self.plan))
        self.state: TrainState = replicate(broadcast(state))
        self.step = self.saved_step = int(self.state.step)
        self.results: dict[str, dict[str, float]] = meta["results"]
        self.examples: dict[str, int] = meta["examples"]
        self.best: dict[str, float] | None = meta["best"]
        # Whether the evaluations that are due after this step were made: a stop leaves them for the next start.
        self.is_evaluated: bool = meta["is_evaluated"]
        self.clock = Clock(meta["seconds"], entries=meta["entries"])
        self.earlier_peak_mib: float = meta["peak_memory_mib"]
        self.speed = {phase: Speed(self.clock, phase) for phase in ("pretrain", "train")}
        processes.run_on_all(lambda: files.open(self.step, self.is_evaluated, meta["records"]))
        run = self.config.run
        self.batches = train_batches(self.splits.train, run.batch_size, run.seed, processes.index, processes.count)
        if self.step:
            progress.say(f"continues after step {self.step} of {self.plan.total_steps}")

    def restore(self, fresh: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """The state to begin with, for process 0 to hand on, and what is known beside it, in every process."""
        parts = {name: len(getattr(self.splits, name)) for name in ("train", "validation", "test")}
        start: dict[str, Any] = dict(seconds={}, entries={}, peak_memory_mib=0.0)
        start |= dict(results={}, examples=parts, data=self.splits.fingerprint, best=None, is_evaluated=True, records=0)
        restored = self.processes.run_on_all(lambda: self.files.restore(fresh))
        meta = self.processes.broadcast(restored and restored[1]) or start
        self.processes.run_on_all(lambda: require_same_data(self.files.path, meta, self.splits))
        return (restored[0] if restored else fresh), meta

    def train(self) -> None:
        """Takes the remaining steps, or stops after the current one with a checkpoint when asked to."""
        self.progress.begin(self.plan, self.step)
        batch = self.fetch_batch()
        if not self.is_evaluated:
            self.evaluate()
            self.saved_step = -1  # the checkpoint does not contain the results of these evaluations
        while self.step < self.plan.total_steps and not self.is_stopping():
            phase = self.plan.phase(self.step)
            with self.clock.section(phase, entries=0):
                self.state = getattr(self.steps, phase)(self.state, batch)
                self.step += 1
                started = PendingStep.of(self.state, self.step, phase, self.plan.should_log(self.step))
                batch = self.fetch_batch()
            self.finish_pending_step()  # the step before this one
            self.pending = started
            self.run_periodic_actions()
        self.finish_pending_step()
        if self.step != self.saved_step:
            self.save()

    def is_stopping(self) -> bool:
        """Returns whether to stop now, in all processes alike; all of them call this at the same points."""
        return self.processes.is_stopping(bool(self.stop))

    def finish_pending_step(self) -> None:
        """Waits for the step that was started last and records it."""
        if self.pending is None:
            return
        step, self.pending = self.pending, None
        with self.clock.section(step.phase):
            jax.block_until_ready(step.marker)
        self.progress.advance(step.phase)
        if step.recorded is not None:
            self.log(step, *step.recorded)

    def fetch_batch(self) -> RawBatch:
        return shard(self.batches[self.step])

    def run_periodic_actions(self) -> None:
        """Evaluates and saves, after all records up to this step, so that a checkpoint covers them."""
        self.is_evaluated = not self.plan.should_evaluate(self.step)
        if not self.is_evaluated:
            self.evaluate()
        is_best = self.best is not None and self.best["step"] == self.step
        if self.is_evaluated and (is_best or self.plan.should_checkpoint(self.step)):
            self.save()

    def log(self, step: PendingStep, metrics: Metrics, first_nonfinite_step: jax.Array) -> None:
        require_finite(first_nonfinite_step, self.files)
        speed = self.speed[step.phase].read()
        values = metrics_lib.compute(metrics)
        values["learning_rate"] = float(self.learning_rate(step.number - 1))
        remaining = None
        if speed:
            values["examples_per_second"] = speed * self.config.run.batch_size
            remaining = (self.plan.total_steps - step.number) / speed
        self.progress.log(step.phase, step.number, values, remaining)
        self.write("train", step.number, step.phase, values)

    def evaluate(self) -> None:
        """Evaluates what is due after this step; if the run is to stop meanwhile, that is left to the next start."""
        self.finish_pending_step()
        require_finite(self.state.first_nonfinite_step, self.files)
        splits = ["validation"]
        if self.step == self.plan.total_steps or self.config.run.evaluate_test:
            splits.append("test")
        phase = self.plan.phase(self.step - 1)
        measured = {split: self.measure(split) for split in splits}
        if any(values is None for values in measured.values()):
            return
        self.is_evaluated = True
        for split, values in measured.items():
            if phase == "pretrain":  # The classifier has not been trained yet.
                values = {name: v for name, v in (values or {}).items() if name not in ("supervised_loss", "accuracy")}
            if values:
                self.results[split] = values
                self.write(split, self.step, phase, values)
                self.progress.say(f"{phase} {self.step}/{self.plan.total_steps}  {split}: {format_metrics(values)}")
        self.note_best()
        if self.config.run.pictures and self.plan.should_draw(self.step):
            self.draw()

    def draw(self) -> None:
        """Draws reconstructions in process 0, unless the run is to stop; the others continue and wait for it."""
        with self.clock.section("draw"):
            self.files.show(self.step, lambda: self.plot(self.state.params, self.step, lambda: bool(self.stop)))

    def measure(self, split: str) -> dict[str, float] | None:
        batches = batches_of(self.experiment, split, self.processes)
        with self.clock.section("evaluate"):
            return evaluate_split(self.steps.evaluate, self.state.params, batches, self.is_stopping)

    def note_best(self) -> None:
        """Remembers the step if its accuracy on the validation split is the highest so far."""
        accuracy = self.results.get("validation", {}).get("accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best["validation_accuracy"]):
            self.best = {"step": self.step, "validation_accuracy": accuracy}

    def write(self, kind: str, step: int, phase: str, values: dict[str, float]) -> None:
        epoch = step / self.plan.steps_per_epoch
        self.files.record(kind, step, {"phase": phase, "epoch": epoch, **values, "seconds": self.clock.total()})

    def save(self) -> None:
        self.finish_pending_step()
        require_finite(self.state.first_nonfinite_step, self.files)
        with self.clock.section("checkpoint"):
            self.files.save(self.step, self.state, self.meta())
        self.saved_step = self.step

    def meta(self) -> dict[str, Any]:
        """Returns what a checkpoint stores in addition to the state."""
        return {
            "seconds": dict(self.clock.seconds),
            "entries": dict(self.clock.entries),
            "peak_memory_mib": self.peak_mib(),
            "results": self.results,
            "examples": self.examples,
            "data": self.splits.fingerprint,
            "best": self.best,
            "is_evaluated": self.is_evaluated,
        }

    def peak_mib(self) -> float:
        """The most memory, in MiB, of all the processes that the run took."""
        return max(self.earlier_peak_mib, peak_memory_mib())

    def describe(self) -> dict[str, Any]:
        """Returns the part of the summary that is known at any time; accuracies from 0 to 1."""
        config, results = self.config, self.results
        return {
            "dataset": config.data.dataset,
            "auxiliary": config.model.auxiliary,
            "encoder": config.model.encoder,
            "seed": config.run.seed,
            "examples": self.examples,
            "status": "complete" if self.step == self.plan.total_steps and self.is_evaluated else "interrupted",
            "steps": self.step,
            "test_accuracy": results.get("test", {}).get("accuracy"),
            "validation_accuracy": results.get("validation", {}).get("accuracy"),
            "best": self.best,
            "results": results,
            "seconds": round(self.clock.total(), 3),
            "seconds_by_section": {name: round(s, 3) for name, s in self.clock.seconds.items()},
            "seconds_per_step": self.clock.mean("train"),  # of joint training, without compiling
            "peak_memory_mib": round(self.peak_mib(), 1),
            "machine": describe_machine(len(usable_cores())),
            "devices": describe_devices(),
            "jax": jax.__version__,
        }

    def summary(self) -> dict[str, Any]:
        """Returns the contents of `summary.json`."""
        params = jax.device_get(self.state.params)
        return {**self.describe(), "parameters": count_parameters(params), "params_digest": digest(params)}

    def close(self) -> None:
        self.progress.end()
