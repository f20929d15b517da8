"""Evaluates a checkpoint of a run."""

from pathlib import Path
from typing import Any

from aux_rnn.analysis.restore import load_run
from aux_rnn.config.settings import DataConfig
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.training.evaluation import batches_of, evaluate_split, without_untrained


def evaluate_run(
    path: Path, data: DataConfig, processes: ProcessGroup = SINGLE_PROCESS, checkpoint: str = "latest"
) -> dict[str, Any]:
    """Evaluates a checkpoint of a run on its validation and its whole test split; writes nothing.

    A checkpoint of the pretraining has no accuracy, because the classifier is not trained yet.

    Returns `dataset`, `auxiliary`, `status` 'evaluated', `steps` and `results` by split. For arguments and errors see
    `load_run`.
    """
    experiment, state = load_run(path, data, processes, checkpoint)
    step = int(state.step)
    phase = experiment.plan.phase(step - 1)

    def evaluate(split: str) -> dict[str, float]:
        batches = batches_of(experiment, split, processes)
        return without_untrained(evaluate_split(experiment.steps.evaluate, state.params, batches) or {}, phase)

    return {
        "dataset": experiment.config.data.dataset,
        "auxiliary": experiment.config.model.auxiliary,
        "status": "evaluated",
        "steps": step,
        "results": {split: evaluate(split) for split in ("validation", "test")},
    }
