"""Evaluation of a whole split, of which each process takes its share of the batches."""

from collections.abc import Callable, Iterator

import jax

from aux_rnn.datasets import evaluation_batches
from aux_rnn.distributed import ProcessGroup
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.metric_names import CLASSIFIER_METRICS
from aux_rnn.model.metrics import Metrics
from aux_rnn.training.experiment import Experiment
from aux_rnn.training.sharding import shard
from aux_rnn.training.steps import RawBatch, TrainState


def batches_of(experiment: Experiment, split: str, processes: ProcessGroup) -> Iterator[RawBatch]:
    """Returns this process's share of a split, for evaluation."""
    examples, size = getattr(experiment.splits, split), experiment.config.run.batch_size
    return evaluation_batches(examples, size, processes.index, processes.count)


def evaluate_split(
    experiment: Experiment,
    split: str,
    state: TrainState,
    processes: ProcessGroup,
    is_stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Computes the metrics of a split, over all processes. `is_stopping` is called before each batch.

    Returns:
      The metrics of `evaluate_losses`, losses in nats or squared errors, accuracies from 0 to 1; without those of the
      classifier after a step of pretraining, which does not train it; empty for an empty split, None if it was stopped.
    """
    total: Metrics = {}
    for batch in batches_of(experiment, split, processes):
        if is_stopping():
            return None
        # Fetched at once: two programs that sum over devices must not wait for each other in one queue.
        measured = jax.device_get(experiment.steps.evaluate(state.params, shard(batch)))
        total = metrics_lib.merge(total, measured) if total else measured
    is_pretrained_only = experiment.plan.phase(int(state.step) - 1) == "pretrain"
    untrained = ("supervised_loss", *CLASSIFIER_METRICS) if is_pretrained_only else ()
    return {name: value for name, value in metrics_lib.compute(total).items() if name not in untrained}
