"""Training from the first step, or the newest checkpoint, to the end: `train_and_evaluate(config, workdir)`."""

import dataclasses
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import jax

from aux_rnn.config.serialization import name_model
from aux_rnn.config.settings import Config
from aux_rnn.datasets import find_dataset
from aux_rnn.datasets.arrays import Form
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.storage.remote import RemoteCopy
from aux_rnn.system.machine import warn_of_precision
from aux_rnn.system.signals import StopRequest, catch_signals
from aux_rnn.training.dispatch import Dispatcher
from aux_rnn.training.experiment import Experiment, check_together, create_experiment
from aux_rnn.training.loop import Loop
from aux_rnn.training.optimizer import make_learning_rate
from aux_rnn.training.outputs import NullOutputs, RunOutputs
from aux_rnn.training.progress import Progress

STOPPING = "SIGTERM stops and saves; the same command continues"


def train_and_evaluate(
    config: Config,
    path: Path,
    progress: Progress,
    processes: ProcessGroup = SINGLE_PROCESS,
    remote: RemoteCopy | None = None,
    stop: StopRequest | None = None,
    *,
    extends: bool = False,
) -> dict[str, Any]:
    """Trains to the end, from the newest checkpoint if there is one, and evaluates.

    A run that was interrupted anywhere and continued ends with the same parameters and the same `metrics.jsonl`, apart
    from times, as one that was not. It may continue on other devices, in another number of processes or with another
    `data_on_device`, which changes parameters by rounding alone.

    All processes of a run call this; only process 0 uses the folder and its copy at an address, `remote`, which is
    updated after each checkpoint. SIGINT and SIGTERM request to stop, which may have been done already in `stop`. With
    `extends`, a run in the folder may be continued with more epochs of joint training.

    Returns:
      The content of `summary.json`, in every process.

    Raises:
      ConfigError, DataError, WorkdirError, CheckpointError: before any training.
      ProcessError: the same, in another process.
      StorageError: the address of the run cannot be written.
      TrainingError: the loss or a gradient was not finite.
    """
    check_together(config, processes)
    where = remote.address if remote else str(path)

    def open_files() -> NullOutputs:
        return RunOutputs(path, config, remote, extends) if processes.is_main else NullOutputs(path)

    with closing(processes.run_on_all(open_files)) as files:
        if summary := processes.broadcast(files.complete_summary()):
            progress.say(f"{where}: this run is complete; another workdir starts a new one")
            return summary
        experiment = processes.run_on_main_first(lambda: create_experiment(config))
        keys = "Ctrl-C or " * progress.is_on_terminal()
        announce(experiment, f"results in {where}  {keys}{STOPPING}", progress, processes.count)
        form = processes.run_on_all(lambda: find_dataset(config.data).describe(config.data))
        summary, _ = run_experiment(experiment, files, form, progress, processes, catch_signals(stop))
        return processes.broadcast(summary)


def run_experiment(
    experiment: Experiment,
    files: NullOutputs,
    form: Form,
    progress: Progress,
    processes: ProcessGroup = SINGLE_PROCESS,
    signals: AbstractContextManager[StopRequest] | None = None,
) -> tuple[dict[str, Any], Any]:
    """Compiles and takes the steps; returns the summary and the parameters. `signals` makes the request to stop."""
    if files.extended_from:
        progress.say(describe_extension(experiment, files.extended_from))
    dispatcher = Dispatcher(experiment.config, experiment.steps, experiment.splits.train, processes)
    compiled = dispatcher.compile(experiment.spec, experiment.plan)
    processes.run_on_all(lambda: files.write_config(form))
    with signals or nullcontext(StopRequest()) as stop:
        loop = Loop(experiment, dispatcher, files, progress, processes, stop)
        loop.stats.clock.seconds["compile"] += sum(phase.seconds for phase in compiled.values())
        return loop.run(), loop.state.params


def describe_extension(experiment: Experiment, epochs: int) -> str:
    """Says what more epochs than the given ones do to the learning rate of a run."""
    config, plan = experiment.config, experiment.plan
    before = dataclasses.replace(plan, train_steps=epochs * plan.steps_per_epoch)
    old, new = (float(make_learning_rate(config.optimizer, each)(before.total_steps)) for each in (before, plan))
    return (
        f"extended from {epochs} to {config.run.train_epochs} epochs of training  the learning rate is halved at 30, "
        f"60 and 90 % of the new number  after {epochs} epochs it is {new:g} instead of {old:g}"
    )


def announce(experiment: Experiment, where: str, progress: Progress, process_count: int = 1) -> None:
    """Shows what is about to run, on what, where the results go, and of how much it consists."""
    config, splits, plan = experiment.config, experiment.splits, experiment.plan
    devices = f"{jax.device_count()} {jax.devices()[0].platform} device{'s' * (jax.device_count() > 1)}"
    processes = f" in {process_count} processes" if process_count > 1 else ""
    progress.say(f"{name_model(config)} on {config.data.dataset}, on {devices}{processes}  {where}")
    sizes = ", ".join(f"{count:,} {name}" for name, count in splits.counts().items())
    phases = f"{plan.pretrain_steps:,} steps of pretraining, {plan.train_steps:,} of training"
    progress.say(f"sequences of {experiment.spec.describe()}  {sizes} examples  {phases}")
    if config.run.pretrain_epochs and not config.model.auxiliaries:
        progress.say("no pretraining, as there is no auxiliary loss; pretrain_epochs is ignored")
    if warning := warn_of_precision(config.model.precision, jax.devices()[0].platform):
        progress.say(warning)
