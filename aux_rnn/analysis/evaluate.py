"""Evaluates a checkpoint of a run."""

from pathlib import Path
from typing import Any

from aux_rnn.analysis.restore import load_run
from aux_rnn.config.settings import DataConfig
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.training.evaluation import evaluate_split


def evaluate_run(
    path: Path, data: DataConfig, processes: ProcessGroup = SINGLE_PROCESS, checkpoint: str = "latest"
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run on its validation and its whole test split; writes nothing.

    A checkpoint of the pretraining has no accuracy, because the classifier is not trained yet.

    Returns `dataset`, `auxiliary`, `status` 'evaluated', `steps` and `results` by split. For arguments and errors see
    `load_run`.
    """
    experiment, state = load_run(path, data, processes, checkpoint)
    return {
        "dataset": experiment.config.data.dataset,
        "auxiliary": experiment.config.model.auxiliary,
        "status": "evaluated",
        "steps": int(state.step),
        "results": {split: evaluate_split(experiment, split, state, processes) for split in ("validation", "test")},
    }
