"""Figures of reconstructions: during training, and from a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aux_rnn.config import DataConfig, locate_data
from aux_rnn.evaluation import restore_state
from aux_rnn.experiment import Experiment, create_experiment
from aux_rnn.plots_folder import save_reconstructions
from aux_rnn.reconstructions import make_decode_fn, pick_examples
from aux_rnn.settings import ConfigError
from aux_rnn.steps import create_train_state
from aux_rnn.workdir import require_config, unwritable

# `(params, step, is_stopping) -> PNG`, or None if there is no decoder or it was stopped.
Plotter = Callable[[Any, int, Callable[[], bool]], bytes | None]


def make_reconstruction_plotter(experiment: Experiment) -> Plotter:
    """Returns the function that draws reconstructions of a few examples after a step.

    It uses one device of the process that calls it, and compiles in the first call.
    """
    config, permutation = experiment.config, experiment.permutation
    # Arrays given to `fit` may have no test examples.
    split = next(name for name in ("test", "validation", "train") if len(getattr(experiment.splits, name)))
    examples = pick_examples(getattr(experiment.splits, split))
    decode = make_decode_fn(config, experiment.spec, permutation)

    def draw(params: Any, step: int, is_stopping: Callable[[], bool]) -> bytes | None:
        decoded = decode(params, examples, is_stopping) if config.model.auxiliaries else None
        if decoded is None or is_stopping():
            return None
        # Imported here because matplotlib takes a second, which a run without figures need not wait for.
        from aux_rnn.plot_reconstructions import draw_reconstructions
        from aux_rnn.plot_style import plot_style, render

        steps = f"after {step:,} of {experiment.plan.total_steps:,} steps"
        title = f"{config.data.dataset}, {split} examples, {steps}"
        with plot_style("reconstructions"):
            dropout = config.model.decoder_input_dropout
            return render(draw_reconstructions(decoded, examples, title, permutation, dropout), "png")

    return draw


def reconstruct_run(path: Path, data: DataConfig, checkpoint: str = "latest") -> Path:
    """Draws the reconstructions of a checkpoint of a run into `plots/` of its folder, and returns the file.

    Args:
      path: the run's folder; its own configuration is used.
      data: where the files of the data set are.
      checkpoint: see `restore_state`.

    Raises:
      WorkdirError, CheckpointError: there is no run or no checkpoint of it, or the figure cannot be written.
      ConfigError, DataError: it has no decoder, or the data cannot be read.
    """
    config = require_config(path)
    if not config.model.auxiliaries:
        raise ConfigError(f"--workdir={path}: a run with --auxiliary=none has no decoder; name one that has")
    experiment = create_experiment(locate_data(config, data))
    fresh = create_train_state(config, experiment.spec, experiment.plan)
    state = restore_state(path, fresh, checkpoint, experiment.splits)
    step = int(state.step)
    figure = make_reconstruction_plotter(experiment)(state.params, step, lambda: False)
    assert figure is not None  # nothing stops it
    try:
        return save_reconstructions(path, step, figure)
    except OSError as error:
        raise unwritable(path, error) from error
