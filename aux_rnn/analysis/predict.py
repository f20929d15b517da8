"""Predictions of a run for every example of a split, and the scores per class."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from sklearn.metrics import classification_report, confusion_matrix

from aux_rnn.analysis.restore import load_run
from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import find_dataset
from aux_rnn.distributed import SINGLE_PROCESS, ProcessGroup
from aux_rnn.errors import first_line
from aux_rnn.storage.workdir import StorageError, save_plot, write_atomically
from aux_rnn.training.evaluation import batches_of
from aux_rnn.training.sharding import shard

MAX_NAME_LENGTH = 28  # of a class in the table


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for N examples.

    Attributes:
      dataset: their data set.
      split: 'train', 'validation' or 'test'.
      step: of the checkpoint.
      logits: float32 [N, K].
      labels: int32 [N], the true classes.
      ids: int64 [N], each example's index in the stored split; those of 'validation' are indices into 'train'.
      classes: their K names.
    """

    dataset: str
    split: str
    step: int
    logits: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    classes: list[str]

    def confusion(self) -> np.ndarray:
        """Returns int [K, K], examples by true class (row) and predicted class (column)."""
        return confusion_matrix(self.labels, self.logits.argmax(-1), labels=range(len(self.classes)))

    def report(self) -> str:
        """Returns a table of precision, recall, F1 score and examples per class; nan where nothing can be divided."""
        names = [name if len(name) <= MAX_NAME_LENGTH else name[: MAX_NAME_LENGTH - 1] + "…" for name in self.classes]
        labels = range(len(names))
        predicted = self.logits.argmax(-1)
        return classification_report(
            self.labels, predicted, labels=labels, target_names=names, digits=3, zero_division=np.nan
        )


def predict_run(
    path: Path, data: DataConfig, split: str, processes: ProcessGroup = SINGLE_PROCESS, checkpoint: str = "latest"
) -> Predictions:
    """Classifies the whole 'train', 'validation' or 'test' split with a checkpoint of a run; writes nothing.

    All processes get the same result. Raises ConfigError for an empty split; for the other arguments and errors see
    `load_run`.
    """
    experiment, state = load_run(path, data, processes, checkpoint)
    config, examples = experiment.config, getattr(experiment.splits, split)
    if not len(examples):
        raise setting_error("split", split, "train or test, as the run has no validation split (validation_fraction=0)")
    logits = np.empty((len(examples), experiment.spec.num_classes), np.float32)
    labels = np.empty(len(examples), np.int32)
    for batch in batches_of(experiment, split, processes):
        found = jax.device_get(experiment.steps.predict(state.params, shard(batch)))
        rows = found["rows"][found["mask"]]
        logits[rows], labels[rows] = found["logits"][found["mask"]], found["labels"][found["mask"]]
    ids = np.arange(len(examples)) if examples.ids is None else examples.ids
    names = list(find_dataset(config.data).open(config.data).class_names)
    return Predictions(config.data.dataset, split, int(state.step), logits, labels, ids.astype(np.int64), names)


def save_predictions(path: Path, predictions: Predictions) -> list[str]:
    """Writes `predictions-SPLIT.npz` and `plots/confusion-SPLIT.png` into a run's folder and returns their names.

    The first holds `logits`, `labels`, `ids` and `classes` as `Predictions` has them, and `step`. If the figure cannot
    be drawn, the reason is logged. Raises StorageError if the files cannot be written.
    """
    npz, png = f"predictions-{predictions.split}.npz", f"confusion-{predictions.split}.png"
    arrays: dict[str, Any] = {name: getattr(predictions, name) for name in ("logits", "labels", "ids", "step")}
    content = io.BytesIO()
    np.savez(content, **arrays, classes=np.array(predictions.classes))
    try:
        write_atomically(path / npz, content.getvalue())
        if (figure := draw(predictions)) is None:
            return [npz]
        save_plot(path, png, figure)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); make room, then do it again") from error
    return [npz, f"plots/{png}"]


def draw(predictions: Predictions) -> bytes | None:
    """Returns the confusion matrix as a PNG, or None if it cannot be drawn."""
    title = f"{predictions.dataset}, {predictions.split} split, after {predictions.step:,} steps"
    try:
        # Imported here because Matplotlib takes a second, which the other processes need not wait for.
        from aux_rnn.plots.confusion import draw_confusion
        from aux_rnn.plots.style import render

        return render(draw_confusion(predictions.confusion(), predictions.classes, title), "png")
    except Exception as error:  # the predictions are more important
        logging.warning("the figure of the confusion matrix could not be made (%s)", first_line(error))
        return None
