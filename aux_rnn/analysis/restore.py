"""Restores a run from its folder: its experiment and the state of one of its checkpoints."""

from pathlib import Path

from aux_rnn.config.serialization import from_json, to_json, with_data_paths
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import Splits
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.storage.checkpoints import CheckpointError, Restored, list_steps, read_checkpoint, read_latest
from aux_rnn.storage.workdir import require_config
from aux_rnn.training.experiment import Experiment, check_together, create_experiment, require_same_data
from aux_rnn.training.sharding import broadcast, replicate
from aux_rnn.training.steps import TrainState, empty_train_state


def load_run(
    path: Path, data: DataConfig, processes: ProcessGroup = SINGLE_PROCESS, checkpoint: str = "latest"
) -> tuple[Experiment, TrainState]:
    """Loads the experiment of a run, with its data, and the state of a checkpoint, replicated over all devices.

    All processes call this; only process 0 reads the folder, which has the configuration, except for the locations of
    the data. The checkpoint is named as for `restore_state`. Raises WorkdirError, CheckpointError, ConfigError or
    DataError if the run, its checkpoint or the data cannot be read, and ProcessError for one of these elsewhere.
    """
    text = processes.broadcast(
        processes.run_on_all(lambda: to_json(require_config(path)) if processes.is_main else None)
    )
    config = with_data_paths(from_json(text), data)
    check_together(config, processes)  # the devices of all processes start at the same time, or never
    experiment = processes.run_on_main_first(lambda: create_experiment(config))
    like = empty_train_state(experiment.config, experiment.spec, experiment.plan)
    restored = processes.run_on_all(
        lambda: restore_state(path, like, checkpoint, experiment.splits) if processes.is_main else like
    )
    return experiment, replicate(broadcast(restored))


def restore_state(path: Path, like: TrainState, checkpoint: str = "latest", splits: Splits | None = None) -> TrainState:
    """Reads a state of the run in a folder, on the host, into one like `like`, as `empty_train_state` makes it.

    The checkpoint is 'latest' (the newest that is intact), 'best' (by the accuracy on the validation split), or a step
    in digits. Raises CheckpointError if there is none, or it is damaged or of another architecture, and WorkdirError if
    the run was trained on other examples than `splits`, unless that is None.
    """
    restored = read_named(path, like, checkpoint)
    if splits is not None:
        require_same_data(path, restored.meta, splits)
    return restored.state


def read_named(path: Path, like: TrainState, checkpoint: str) -> Restored:
    folder = path / "checkpoints"
    if checkpoint.isdigit():
        step: int | None = int(checkpoint)
    else:
        newest = read_latest(folder, like)
        if newest is None:
            raise CheckpointError(f"checkpoint={checkpoint}: {path} has no checkpoint yet; train first")
        if checkpoint == "latest":
            return newest
        step = newest.meta["best"] and newest.meta["best"]["step"]
    steps = list_steps(folder)
    if step in steps:
        return read_checkpoint(folder, step, like)
    found = f"checkpoints {', '.join(map(str, steps))}" if steps else "no checkpoint yet"
    best = " and no best one, which is kept from the first evaluation of joint training on" * (checkpoint == "best")
    raise CheckpointError(f"checkpoint={checkpoint}: {path} has {found}{best}; name another step, latest or best")
