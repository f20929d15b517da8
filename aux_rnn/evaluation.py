"""Evaluation over a whole split, the last, partial batch included."""

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax

from aux_rnn import metrics as metrics_lib
from aux_rnn.checkpoints import CheckpointError, Checkpoints
from aux_rnn.config import DataConfig, from_json, to_json
from aux_rnn.datasets import evaluation_batches
from aux_rnn.experiment import create_experiment_together
from aux_rnn.metrics import Metrics
from aux_rnn.processes import ALONE, Processes
from aux_rnn.steps import Batch, TrainState, broadcast, create_train_state, replicate, shard
from aux_rnn.workdir import require_config


def evaluate_split(
    evaluate: Callable[[Any, Batch], Metrics],
    params: Any,
    batches: Iterable[Batch],
    is_stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """The means over a split.

    Args:
      evaluate: `Steps.evaluate`.
      params: the network's parameters.
      batches: this process's share of the split, every batch of the same size, with a false `mask` where it is only
        filled up.
      is_stopping: asked before each batch; the same in all processes.

    Returns:
      `supervised_loss` (nats), `accuracy` (0 to 1) and the auxiliary losses; empty for an empty split, None if it was
      stopped.
    """
    total: Metrics = {}
    for batch in batches:
        if is_stopping():
            return None
        # Fetched at once: two programs that sum over devices must not wait for each other in one queue.
        measured = jax.device_get(evaluate(params, shard(batch)))
        total = metrics_lib.merge(total, measured) if total else measured
    return metrics_lib.compute(total)


def evaluate_run(path: Path, data: DataConfig, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluates the newest checkpoint of a run on its validation and its whole test split; writes nothing.

    Args:
      path: the run's folder, which process 0 alone reads. Its own configuration counts.
      data: where the files lie.
      processes: those that evaluate. All of them call this.

    Returns:
      `dataset`, `auxiliary`, `status` 'evaluated', `steps` and `results` by split.

    Raises:
      WorkdirError, CheckpointError: there is no run, or no checkpoint of it.
      ConfigError, DataError: the data cannot be read.
      ProcessError: one of these, in another process.
    """
    text = processes.share(processes.attempt(lambda: to_json(require_config(path)) if processes.is_main else None))
    config = from_json(text)
    located = dataclasses.replace(config.data, data_dir=data.data_dir, manual_dir=data.manual_dir)
    experiment = create_experiment_together(dataclasses.replace(config, data=located), processes)
    fresh = create_train_state(config, experiment.spec, experiment.plan)
    restored = processes.attempt(lambda: restore_newest(path, fresh) if processes.is_main else fresh)
    state = replicate(broadcast(restored))
    results = {}
    for split in ("validation", "test"):
        examples, size = getattr(experiment.splits, split), config.run.batch_size
        batches = evaluation_batches(examples, size, processes.index, processes.count)
        results[split] = evaluate_split(experiment.steps.evaluate, state.params, batches)
    return {
        "dataset": config.data.dataset,
        "auxiliary": config.model.auxiliary,
        "status": "evaluated",
        "steps": int(state.step),
        "results": results,
    }


def restore_newest(path: Path, like: TrainState) -> TrainState:
    """The newest intact state of a run; raises CheckpointError if there is none."""
    with closing(Checkpoints(path / "checkpoints", read_only=True)) as checkpoints:
        restored = checkpoints.restore_latest(like)
    if restored is None:
        raise CheckpointError(f"--workdir={path}: has no checkpoint yet; train first")
    return restored[0]
