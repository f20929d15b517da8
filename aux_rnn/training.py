"""The training loop: `train_and_evaluate(config, workdir)`."""

from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aux_rnn import metrics as metrics_lib
from aux_rnn.checkpoints import Checkpoints, digest
from aux_rnn.clock import Clock, Speed
from aux_rnn.config import Config
from aux_rnn.datasets import evaluation_batches, train_batches
from aux_rnn.evaluation import evaluate_split
from aux_rnn.experiment import Experiment, check, create_experiment
from aux_rnn.idleness import Idleness, Unsettled
from aux_rnn.interruption import StopRequest, catch_signals
from aux_rnn.memory import peak_memory_mib
from aux_rnn.metric_writers import MetricsFile
from aux_rnn.metrics import Metrics
from aux_rnn.models import count_parameters
from aux_rnn.optimizers import make_learning_rate
from aux_rnn.progress import Progress, format_metrics
from aux_rnn.steps import NEVER, Batch, TrainState, create_train_state, replicate, shard
from aux_rnn.workdir import Workdir, WorkdirError, read_summary


class TrainingError(Exception):
    """The run cannot go on. The text says why, in one line."""


def train_and_evaluate(config: Config, path: Path, progress: Progress) -> dict[str, Any]:
    """Trains to the end, from the newest checkpoint if there is one, and evaluates.

    A run that was interrupted anywhere and continued ends with the same parameters and the same `metrics.jsonl`, apart
    from times, as one that was not.

    Args:
      config: what to train.
      path: the run's folder.
      progress: where to show it.

    Returns:
      What `summary.json` holds.

    Raises:
      ConfigError, DataError, WorkdirError, CheckpointError: before any training.
      TrainingError: the loss or a gradient was not finite.
    """
    check(config)
    with closing(Workdir(path, config)) as workdir:
        if (summary := read_summary(path)) and summary.get("status") == "complete":
            progress.say(f"{path}: this run is complete; another --workdir starts a new one")
            return summary
        experiment = create_experiment(config)
        workdir.adopt(config)
        announce(config, path, experiment, progress)
        with (
            catch_signals() as stop,
            closing(Checkpoints(workdir.checkpoints)) as checkpoints,
            closing(Run(experiment, workdir, checkpoints, progress)) as run,
        ):
            try:
                run.train(stop)
                checkpoints.wait()
            except Exception:
                # The state may be gone with the step that failed: what is left to say is that it did.
                workdir.write_summary({**run.describe(), "status": "failed"})
                raise
            summary = run.summary()
            workdir.write_summary(summary)
            return summary


def announce(config: Config, path: Path, experiment: Experiment, progress: Progress) -> None:
    """Says what is about to run, on what, and where the results go."""
    splits, spec, plan = experiment.splits, experiment.spec, experiment.plan
    sizes = ", ".join(f"{len(getattr(splits, name)):,} {name}" for name in ("train", "validation", "test"))
    devices = f"{jax.device_count()} {jax.devices()[0].platform} device{'s' * (jax.device_count() > 1)}"
    shape = f"at most {spec.length:,} bytes" if spec.vocabulary_size else f"{spec.length:,} x {spec.channels}"
    progress.say(f"{config.data.dataset}: sequences of {shape}; {sizes} examples")
    phases = f"{plan.pretrain_steps:,} steps of pretraining, {plan.train_steps:,} of training"
    progress.say(f"auxiliary={config.model.auxiliary}: {phases}")
    progress.say(f"on {devices}; results in {path}")
    progress.say("Ctrl-C stops and saves; the same command continues")
    if config.run.pretrain_epochs and not config.model.auxiliaries:
        progress.say("no pretraining, as there is no auxiliary loss; --pretrain_epochs is ignored")


def require_finite(first_bad_step: jax.Array, checkpoints: Checkpoints) -> None:
    """Raises TrainingError if the loss or a gradient of any step so far was not finite."""
    bad = int(first_bad_step)
    if bad != NEVER:
        good = [f"{checkpoints.folder / str(step)}" for step in checkpoints.steps()[:1]]
        raise TrainingError(
            f"step {bad}: the loss or its gradient is not finite; the last good checkpoint is "
            f"{good[0] if good else 'none'}; try a smaller --learning_rate or --clip_norm, with another --workdir"
        )


class Run:
    """A run in progress: its state, what it has measured, and where it writes."""

    def __init__(self, experiment: Experiment, workdir: Workdir, checkpoints: Checkpoints, progress: Progress) -> None:
        self.config, self.plan, self.steps = experiment.config, experiment.plan, experiment.steps
        self.splits = experiment.splits
        self.workdir, self.checkpoints, self.progress = workdir, checkpoints, progress
        self.learning_rate = make_learning_rate(self.config.optimizer, self.plan)
        state = create_train_state(self.config, experiment.spec, self.plan)
        restored = checkpoints.restore_latest(state)
        parts = {name: len(getattr(self.splits, name)) for name in ("train", "validation", "test")}
        fresh: dict[str, Any] = dict(seconds={}, entries={}, peak_memory_mib=0.0, results={}, examples=parts)
        state, meta = restored or (state, fresh)
        self.examples: dict[str, int] = meta["examples"]
        if self.examples != parts:
            raise WorkdirError(
                f"--workdir={workdir.path}: holds a run on other data (examples: {self.examples}; now: {parts}); "
                "bring the data back, or choose another folder"
            )
        self.state: TrainState = replicate(state)
        self.step = self.saved_step = int(state.step)
        self.results: dict[str, dict[str, float]] = meta["results"]
        self.clock = Clock(meta["seconds"], entries=meta["entries"])
        self.earlier_peak_mib: float = meta["peak_memory_mib"]
        self.speed = {phase: Speed(self.clock, phase) for phase in ("pretrain", "train")}
        self.unsettled: Unsettled | None = None
        self.idleness = Idleness(meta.get("idle_seconds", 0.0))  # older checkpoints do not know it
        self.records = MetricsFile(workdir.metrics, self.step)
        self.batches = train_batches(self.splits.train, self.config.run.batch_size, self.config.run.seed)
        if restored:
            progress.say(f"continues after step {self.step} of {self.plan.total_steps}")

    def train(self, stop: StopRequest) -> None:
        """Takes the remaining steps, or stops after the current one with a checkpoint when asked to."""
        self.progress.begin(self.plan, self.step)
        compiled: set[str] = set()
        batch = self.fetch_batch()
        while self.step < self.plan.total_steps and not stop:
            phase = self.plan.phase(self.step)
            section = phase if phase in compiled else "compile"
            with self.clock.section(section, entries=0):
                self.idleness.end(self.unsettled.marker if self.unsettled else None)
                self.state = getattr(self.steps, phase)(self.state, batch)
                self.step += 1
                following = Unsettled.of(self.state, self.step, phase, section, self.plan.should_log(self.step))
                self.idleness.begin()
                batch = self.fetch_batch()
            self.settle()  # the step before: the devices have work while this one is recorded
            self.unsettled = following
            if section == "compile":
                self.settle()
            compiled.add(phase)
            self.do_what_is_due(phase)
        self.settle()
        if self.step != self.saved_step:
            self.save()

    def settle(self) -> None:
        """Waits for the step that was started last and records it, if that is still to be done."""
        if self.unsettled is None:
            return
        step, self.unsettled = self.unsettled, None
        with self.clock.section(step.section):
            jax.block_until_ready(step.marker)
        self.idleness.begin()
        self.progress.advance(step.phase)
        if step.recorded is not None:
            self.log(step, *step.recorded)

    def fetch_batch(self) -> Batch:
        size = self.config.run.batch_size
        rows = np.arange(size, dtype=np.int32)
        return shard({**self.batches[self.step], "rows": rows, "mask": np.ones(size, bool)})

    def do_what_is_due(self, phase: str) -> None:
        """Evaluates and saves, after all records up to this step, so that a checkpoint covers them."""
        is_last = self.step == self.plan.total_steps
        if self.plan.should_evaluate(self.step):
            self.evaluate(phase, "validation")
        if is_last or (self.config.run.evaluate_test and self.plan.should_evaluate(self.step)):
            self.evaluate(phase, "test")
        if self.plan.should_checkpoint(self.step):
            self.save()

    def log(self, step: Unsettled, metrics: Metrics, first_bad_step: jax.Array) -> None:
        require_finite(first_bad_step, self.checkpoints)
        speed = self.speed[step.phase].read()
        values = metrics_lib.compute(metrics)
        values["learning_rate"] = float(self.learning_rate(step.number - 1))
        remaining = None
        if speed:  # not while the only steps since the last record were those that compiled
            values["examples_per_second"] = speed * self.config.run.batch_size
            remaining = (self.plan.total_steps - step.number) / speed
        self.progress.log(step.phase, step.number, values, remaining)
        self.write("train", step.number, step.phase, values)

    def evaluate(self, phase: str, split: str) -> None:
        self.settle()
        require_finite(self.state.first_bad_step, self.checkpoints)
        with self.clock.section("evaluate"):
            batches = evaluation_batches(getattr(self.splits, split), self.config.run.batch_size)
            measured = evaluate_split(self.steps.evaluate, self.state.params, batches)
        self.idleness.begin()
        if phase == "pretrain":  # The classifier has not been trained yet.
            measured = {name: v for name, v in measured.items() if name not in ("supervised_loss", "accuracy")}
        if measured:
            self.results[split] = measured
            self.write(split, self.step, phase, measured)
            self.progress.say(f"{phase} {self.step}/{self.plan.total_steps}  {split}: {format_metrics(measured)}")

    def write(self, kind: str, step: int, phase: str, values: dict[str, float]) -> None:
        epoch = step / self.plan.steps_per_epoch
        self.records.write(kind, step, {"phase": phase, "epoch": epoch, **values, "seconds": self.clock.total()})

    def save(self) -> None:
        self.settle()
        require_finite(self.state.first_bad_step, self.checkpoints)
        self.records.sync()
        with self.clock.section("checkpoint"):
            meta = {
                "seconds": dict(self.clock.seconds),
                "entries": dict(self.clock.entries),
                "idle_seconds": self.idleness.seconds,
                "peak_memory_mib": self.peak_mib(),
                "results": self.results,
                "examples": self.examples,
            }
            self.checkpoints.save(self.step, self.state, meta)
        self.saved_step = self.step

    def peak_mib(self) -> float:
        """The most memory, in MiB, of all the processes that the run took."""
        return max(self.earlier_peak_mib, peak_memory_mib())

    def idle_share(self) -> float | None:
        """At most what part of the time for steps and checkpoints the devices waited for input, records and writing."""
        busy = sum(self.clock.seconds[name] for name in ("pretrain", "train", "checkpoint"))
        return round(self.idleness.seconds / busy, 5) if busy else None

    def describe(self) -> dict[str, Any]:
        """What can be said of a run at any time; accuracies from 0 to 1; the spread over seeds needs several runs."""
        config, results = self.config, self.results
        return {
            "dataset": config.data.dataset,
            "auxiliary": config.model.auxiliary,
            "encoder": config.model.encoder,
            "seed": config.run.seed,
            "examples": self.examples,
            "status": "complete" if self.step == self.plan.total_steps else "interrupted",
            "steps": self.step,
            "test_accuracy": results.get("test", {}).get("accuracy"),
            "test_accuracy_spread": None,
            "validation_accuracy": results.get("validation", {}).get("accuracy"),
            "results": results,
            "seconds": round(self.clock.total(), 3),
            "seconds_by_section": {name: round(s, 3) for name, s in self.clock.seconds.items()},
            "seconds_per_step": self.clock.mean("train"),  # of joint training, without the step that compiled
            "idle_share": self.idle_share(),
            "peak_memory_mib": round(self.peak_mib(), 1),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "jax": jax.__version__,
        }

    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds."""
        params = jax.device_get(self.state.params)
        return {**self.describe(), "parameters": count_parameters(params), "params_digest": digest(params)}

    def close(self) -> None:
        self.records.close()
        self.progress.end()
