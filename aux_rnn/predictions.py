"""What a run says of every example of a split, and how good that is for each class."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import jax
import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from aux_rnn.config import DataConfig
from aux_rnn.datasets import class_names
from aux_rnn.evaluation import batches_of, load_run
from aux_rnn.plots_folder import save_plot
from aux_rnn.processes import ALONE, Processes
from aux_rnn.settings import reject
from aux_rnn.steps import shard
from aux_rnn.workdir import StorageError, write_atomically


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What a run says of N examples.

    Attributes:
      dataset: their data set.
      split: 'train', 'validation' or 'test'.
      step: of the checkpoint.
      logits: float32 [N, K].
      labels: int32 [N], the true classes.
      ids: int64 [N], each example's place in the split as it is stored; those of 'validation' lie in 'train' there.
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
        """int [K, K], examples by true class (row) and predicted class (column)."""
        return confusion_matrix(self.labels, self.logits.argmax(-1), labels=range(len(self.classes)))

    def scores(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision and recall float [K], nan where a class was never predicted or has no example, and counts [K]."""
        precision, recall, _, counts = precision_recall_fscore_support(
            self.labels, self.logits.argmax(-1), labels=range(len(self.classes)), zero_division=np.nan
        )
        return precision, recall, counts


def predict_run(
    path: Path, data: DataConfig, split: str, processes: Processes = ALONE, checkpoint: str = "latest"
) -> Predictions:
    """Classifies a whole split with a checkpoint of a run; writes nothing.

    Args:
      path: the run's folder, which process 0 alone reads. Its own configuration counts.
      data: where the files lie.
      split: 'train', 'validation' or 'test'.
      processes: those that take part. All of them call this, and get the same.
      checkpoint: which, see `restore_state`.

    Raises:
      ConfigError: the split is empty.
      WorkdirError, CheckpointError, ConfigError, DataError, ProcessError: as `load_run` does.
    """
    experiment, state = load_run(path, data, processes, checkpoint)
    config, examples = experiment.config, getattr(experiment.splits, split)
    if not len(examples):
        raise reject("split", split, "train or test, as the run has no validation split (--validation_fraction=0)")
    logits = np.empty((len(examples), experiment.spec.num_classes), np.float32)
    labels = np.empty(len(examples), np.int32)
    for batch in batches_of(experiment, split, processes):
        found = jax.device_get(experiment.steps.predict(state.params, shard(batch)))
        rows = found["rows"][found["mask"]]
        logits[rows], labels[rows] = found["logits"][found["mask"]], found["labels"][found["mask"]]
    ids = np.arange(len(examples)) if examples.ids is None else examples.ids
    names = class_names(config.data)
    return Predictions(config.data.dataset, split, int(state.step), logits, labels, ids.astype(np.int64), names)


def save_predictions(path: Path, predictions: Predictions) -> list[str]:
    """Writes `predictions-SPLIT.npz` and `plots/confusion-SPLIT.png` into a run's folder.

    The first holds `logits`, `labels`, `ids` and `classes` as `Predictions` has them, and `step`.

    Returns:
      The names of the files.

    Raises:
      StorageError: they cannot be written.
    """
    # Matplotlib takes its time, and the other processes need none of it.
    from aux_rnn.confusion import draw_confusion
    from aux_rnn.plot_style import render

    npz, png = f"predictions-{predictions.split}.npz", f"confusion-{predictions.split}.png"
    arrays: dict[str, Any] = {name: getattr(predictions, name) for name in ("logits", "labels", "ids", "step")}
    title = f"{predictions.dataset}, {predictions.split} split, after {predictions.step:,} steps"
    content = io.BytesIO()
    np.savez(content, **arrays, classes=np.array(predictions.classes))
    picture = render(draw_confusion(predictions.confusion(), predictions.classes, title), "png")
    try:
        write_atomically(path / npz, content.getvalue())
        save_plot(path, png, picture)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); make room, then do it again") from error
    return [npz, f"plots/{png}"]
