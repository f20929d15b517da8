"""Evaluation over a whole split, the last, partial batch included."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from aux_rnn import metrics as metrics_lib
from aux_rnn.checkpoints import CheckpointError, Restored, list_steps, read_checkpoint, read_latest
from aux_rnn.config import DataConfig, from_json, locate_data, to_json
from aux_rnn.datasets import Splits, evaluation_batches
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.experiment import Experiment, check_together, create_experiment_together
from aux_rnn.metrics import Metrics
from aux_rnn.sharding import broadcast, replicate, shard
from aux_rnn.steps import RawBatch, TrainState, create_train_state
from aux_rnn.workdir import WorkdirError, require_config


def batches_of(experiment: Experiment, split: str, processes: ProcessGroup) -> Iterator[RawBatch]:
    """This process's share of a split, for evaluation."""
    examples, size = getattr(experiment.splits, split), experiment.config.run.batch_size
    return evaluation_batches(examples, size, processes.index, processes.count)


def evaluate_split(
    evaluate: Callable[[Any, RawBatch], Metrics],
    params: Any,
    batches: Iterable[RawBatch],
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


def evaluate_run(
    path: Path, data: DataConfig, processes: ProcessGroup = SINGLE_PROCESS, checkpoint: str = "latest"
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run on its validation and its whole test split; writes nothing.

    Args:
      path: the run's folder, which process 0 alone reads. Its own configuration counts.
      data: where the files lie.
      processes: those that evaluate. All of them call this.
      checkpoint: which, see `restore_state`.

    Returns:
      `dataset`, `auxiliary`, `status` 'evaluated', `steps` and `results` by split.

    Raises:
      WorkdirError, CheckpointError, ConfigError, DataError, ProcessError: as `load_run` does.
    """
    experiment, state = load_run(path, data, processes, checkpoint)
    evaluate = experiment.steps.evaluate
    return {
        "dataset": experiment.config.data.dataset,
        "auxiliary": experiment.config.model.auxiliary,
        "status": "evaluated",
        "steps": int(state.step),
        "results": {
            split: evaluate_split(evaluate, state.params, batches_of(experiment, split, processes))
            for split in ("validation", "test")
        },
    }


def load_run(
    path: Path, data: DataConfig, processes: ProcessGroup = SINGLE_PROCESS, checkpoint: str = "latest"
) -> tuple[Experiment, TrainState]:
    """A run as it was at one of its checkpoints; writes nothing.

    Args:
      path: the run's folder, which process 0 alone reads. Its own configuration counts.
      data: where the files lie.
      processes: those that use the run. All of them call this.
      checkpoint: which, see `restore_state`.

    Returns:
      The experiment, with its data, and the state, replicated over this process's devices.

    Raises:
      WorkdirError, CheckpointError: there is no run, or no such checkpoint of it.
      ConfigError, DataError: the data cannot be read.
      ProcessError: one of these, in another process.
    """
    text = processes.broadcast(
        processes.run_on_all(lambda: to_json(require_config(path)) if processes.is_main else None)
    )
    config = locate_data(from_json(text), data)
    check_together(config, processes)  # the devices of all processes start at the same time, or never
    experiment = create_experiment_together(config, processes)
    fresh = create_train_state(config, experiment.spec, experiment.plan)
    restored = processes.run_on_all(
        lambda: restore_state(path, fresh, checkpoint, experiment.splits) if processes.is_main else fresh
    )
    return experiment, replicate(broadcast(restored))


def require_same_data(path: Path, meta: Mapping[str, Any], splits: Splits) -> None:
    """Raises WorkdirError if a checkpoint with this meta data was saved by a run on other examples."""
    now = {name: len(getattr(splits, name)) for name in ("train", "validation", "test")}
    before = meta.get("examples", now)
    if before == now and meta.get("data") in (None, splits.fingerprint):  # earlier versions saved no fingerprint
        return
    found = f"examples: {before}; now: {now}" if before != now else "as many examples, but different ones"
    raise WorkdirError(
        f"--workdir={path}: holds a run on other data ({found}); bring the data back, or choose another folder"
    )


def restore_state(path: Path, like: TrainState, checkpoint: str = "latest", splits: Splits | None = None) -> TrainState:
    """Reads a state of a run, on the host; nothing is written.

    Args:
      path: the folder of the run.
      like: a state of the same structure, shapes and types, as `create_train_state` makes it.
      checkpoint: 'latest' (the newest that is intact), 'best' (by the accuracy on the validation split), or a step in
        digits.
      splits: the examples that the run must have been trained on; None accepts any.

    Raises:
      CheckpointError: there is no such checkpoint, or it is damaged or of another architecture.
      WorkdirError: the run was trained on other examples.
    """
    restored = find_checkpoint(path, like, checkpoint)
    if splits is not None:
        require_same_data(path, restored.meta, splits)
    return restored.state


def find_checkpoint(path: Path, like: TrainState, checkpoint: str) -> Restored:
    """Reads a checkpoint; for arguments and errors see `restore_state`."""
    folder = path / "checkpoints"
    if checkpoint.isdigit():
        step: int | None = int(checkpoint)
    else:
        newest = read_latest(folder, like)
        if newest is None:
            raise CheckpointError(f"--checkpoint={checkpoint}: {path} has no checkpoint yet; train first")
        if checkpoint == "latest":
            return newest
        step = newest.meta["best"] and newest.meta["best"]["step"]
    if step in list_steps(path / "best"):  # Earlier versions kept the best checkpoint there.
        folder = path / "best"
    steps = list_steps(folder)
    if step in steps:
        return read_checkpoint(folder, step, like)
    found = f"checkpoints {', '.join(map(str, steps))}" if steps else "no checkpoint yet"
    best = " and no best one, which is kept from the first evaluation of joint training on" * (checkpoint == "best")
    raise CheckpointError(f"--checkpoint={checkpoint}: {path} has {found}{best}; name another step, latest or best")
