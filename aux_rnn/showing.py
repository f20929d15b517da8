"""Pictures of what the decoders of an experiment recall: during training, and from a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aux_rnn.config import DataConfig, locate_data
from aux_rnn.evaluation import restore_state
from aux_rnn.experiment import Experiment, create_experiment
from aux_rnn.plots_folder import save_reconstructions
from aux_rnn.reconstructions import make_recollect, pick_examples
from aux_rnn.settings import ConfigError
from aux_rnn.steps import create_train_state
from aux_rnn.workdir import require_config, unwritable

# `(params, step, is_stopping) -> PNG`; None where there is nothing to draw, or it was stopped.
Artist = Callable[[Any, int, Callable[[], bool]], bytes | None]


def make_artist(experiment: Experiment) -> Artist:
    """The function that draws what the decoders recall of a few examples after a step.

    It uses one device of the process that calls it, and compiles in the first call.
    """
    config, permutation = experiment.config, experiment.permutation
    # Somebody's own arrays may have no test examples.
    split = next(name for name in ("test", "validation", "train") if len(getattr(experiment.splits, name)))
    examples = pick_examples(getattr(experiment.splits, split))
    recollect = make_recollect(config, experiment.spec, permutation)

    def draw(params: Any, step: int, is_stopping: Callable[[], bool]) -> bytes | None:
        if not config.model.auxiliaries:
            return None
        recalls = recollect(params, examples, is_stopping)
        if recalls is None or is_stopping():
            return None
        # Here and not above: matplotlib takes a second to import, which a run without pictures need not wait for.
        from aux_rnn.plot_reconstructions import draw_reconstructions
        from aux_rnn.plot_style import plot_style, render

        steps = f"after {step:,} of {experiment.plan.total_steps:,} steps"
        title = f"{config.data.dataset}, {split} examples, {steps}"
        with plot_style("reconstructions"):
            dropout = config.model.decoder_input_dropout
            return render(draw_reconstructions(recalls, examples, title, permutation, dropout), "png")

    return draw


def reconstruct_run(path: Path, data: DataConfig, checkpoint: str = "latest") -> Path:
    """Draws what the decoders recall at a checkpoint of a run, in `plots/` of its folder.

    Args:
      path: the run's folder. Its own configuration counts.
      data: where the files lie.
      checkpoint: which, see `restore_state`.

    Returns:
      Where the picture lies.

    Raises:
      WorkdirError, CheckpointError: there is no run, or no checkpoint of it, or the picture cannot be written.
      ConfigError, DataError: it has no decoder, or the data cannot be read.
    """
    config = require_config(path)
    if not config.model.auxiliaries:
        raise ConfigError(f"--workdir={path}: a run with --auxiliary=none has no decoder; name one that has")
    experiment = create_experiment(locate_data(config, data))
    state = restore_state(path, create_train_state(config, experiment.spec, experiment.plan), checkpoint)
    step = int(state.step)
    picture = make_artist(experiment)(state.params, step, lambda: False)
    assert picture is not None  # nobody stops it
    try:
        return save_reconstructions(path, step, picture)
    except OSError as error:
        raise unwritable(path, error) from error
