"""The batches of each process, and the evaluation of a whole split, including its last, partial batch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from aux_rnn.datasets import evaluation_batches
from aux_rnn.distributed import ProcessGroup
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.metric_names import CLASSIFIER_METRICS
from aux_rnn.model.metrics import Metrics
from aux_rnn.training.experiment import Experiment
from aux_rnn.training.sharding import shard
from aux_rnn.training.steps import RawBatch


def batches_of(experiment: Experiment, split: str, processes: ProcessGroup) -> Iterator[RawBatch]:
    """Returns this process's share of a split, for evaluation."""
    examples, size = getattr(experiment.splits, split), experiment.config.run.batch_size
    return evaluation_batches(examples, size, processes.index, processes.count)


def evaluate_split(
    evaluate: Callable[[Any, RawBatch], Metrics],
    params: Any,
    batches: Iterable[RawBatch],
    is_stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Computes the metrics of a split with `Steps.evaluate`, on this process's share of its batches.

    All batches have the same size, with a false `mask` for rows that only fill the last one. `is_stopping` is called
    before each batch and returns the same in all processes.

    Returns:
      The metrics of `evaluate_losses`, losses in nats or squared errors, accuracies from 0 to 1; empty for an empty
      split, None if it was stopped.
    """
    total: Metrics = {}
    for batch in batches:
        if is_stopping():
            return None
        # Fetched at once: two programs that sum over devices must not wait for each other in one queue.
        measured = jax.device_get(evaluate(params, shard(batch)))
        total = metrics_lib.merge(total, measured) if total else measured
    return metrics_lib.compute(total)


def without_untrained(values: dict[str, float], phase: str) -> dict[str, float]:
    """Returns metrics without those of the classifier after a step of pretraining, which does not train it."""
    untrained = ("supervised_loss", *CLASSIFIER_METRICS) if phase == "pretrain" else ()
    return {name: value for name, value in values.items() if name not in untrained}
