"""Draws the reconstructions of a checkpoint."""

from pathlib import Path

from aux_rnn.analysis.restore import restore_state
from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import with_data_paths
from aux_rnn.config.settings import DataConfig
from aux_rnn.plots.reconstructions.plotter import make_reconstruction_plotter
from aux_rnn.storage.workdir import require_config, save_reconstructions, unwritable_error
from aux_rnn.training.experiment import create_experiment
from aux_rnn.training.steps import empty_train_state


def reconstruct_run(path: Path, data: DataConfig, checkpoint: str = "latest") -> Path:
    """Draws the reconstructions of a checkpoint of a run into `plots/` of its folder, and returns the file.

    Raises ConfigError if it has no decoder, WorkdirError if the figure cannot be written, and the errors of `load_run`.
    """
    config = require_config(path)
    if not config.model.auxiliaries:
        raise ConfigError(f"workdir={path}: a run with auxiliary=none has no decoder; name one that has")
    experiment = create_experiment(with_data_paths(config, data))
    like = empty_train_state(config, experiment.spec, experiment.plan)
    state = restore_state(path, like, checkpoint, experiment.splits)
    step = int(state.step)
    plotter = make_reconstruction_plotter(
        config, experiment.spec, experiment.splits, experiment.permutation, experiment.plan.total_steps
    )
    figure = plotter(state.params, step, lambda: False)
    assert figure is not None  # nothing stops it
    try:
        return save_reconstructions(path, step, figure)
    except OSError as error:
        raise unwritable_error(path, error) from error
