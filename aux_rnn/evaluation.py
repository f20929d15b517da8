"""Evaluation over a whole split, the last, partial batch included."""

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aux_rnn import metrics as metrics_lib
from aux_rnn.checkpoints import CheckpointError, Checkpoints
from aux_rnn.config import DataConfig
from aux_rnn.datasets import evaluation_batches
from aux_rnn.experiment import create_experiment
from aux_rnn.metrics import Metrics
from aux_rnn.steps import Batch, create_train_state, replicate, shard
from aux_rnn.workdir import WorkdirError, read_config


def evaluate_split(
    evaluate: Callable[[Any, Batch], Metrics], params: Any, batches: Iterable[Batch]
) -> dict[str, float]:
    """The means over a split.

    Args:
      evaluate: `Steps.evaluate`.
      params: the network's parameters.
      batches: all of the split, every batch of the same size, with a false `mask` where it is only filled up.

    Returns:
      `supervised_loss` (nats), `accuracy` (0 to 1) and the auxiliary losses; empty for an empty split.
    """
    total: Metrics = {}
    seen = 0
    for batch in batches:
        size = len(batch["mask"])
        rows = np.arange(seen, seen + size, dtype=np.int32)
        # Fetched at once: two programs that sum over devices must not wait for each other in one queue.
        measured = jax.device_get(evaluate(params, shard({**batch, "rows": rows})))
        total = metrics_lib.merge(total, measured) if total else measured
        seen += size
    return metrics_lib.compute(total)


def evaluate_run(path: Path, data: DataConfig) -> dict[str, Any]:
    """Evaluates the newest checkpoint of a run on its validation and its whole test split; writes nothing.

    Args:
      path: the run's folder. Its own configuration counts.
      data: where the files lie.

    Returns:
      `dataset`, `auxiliary`, `status` 'evaluated', `steps` and `results` by split.

    Raises:
      WorkdirError, CheckpointError: there is no run, or no checkpoint of it.
      ConfigError, DataError: the data cannot be read.
    """
    config = read_config(path)
    if config is None:
        raise WorkdirError(f"--workdir={path}: holds no run; train one first, or name another folder")
    located = dataclasses.replace(config.data, data_dir=data.data_dir, manual_dir=data.manual_dir)
    experiment = create_experiment(dataclasses.replace(config, data=located))
    state = create_train_state(config, experiment.spec, experiment.plan)
    with closing(Checkpoints(path / "checkpoints", read_only=True)) as checkpoints:
        restored = checkpoints.restore_latest(state)
    if restored is None:
        raise CheckpointError(f"--workdir={path}: has no checkpoint yet; train first")
    params = replicate(restored[0]).params
    results = {}
    for split in ("validation", "test"):
        batches = evaluation_batches(getattr(experiment.splits, split), config.run.batch_size)
        results[split] = evaluate_split(experiment.steps.evaluate, params, batches)
    return {
        "dataset": config.data.dataset,
        "auxiliary": config.model.auxiliary,
        "status": "evaluated",
        "steps": int(restored[0].step),
        "results": results,
    }
