"""A trained network: its predictions, and how it is saved and loaded."""

import dataclasses
import functools
import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from numpy.typing import ArrayLike

from aux_rnn.analysis.restore import restore_state
from aux_rnn.config.fields import checkpoint_name, setting_error, to_plain
from aux_rnn.config.serialization import PATH_SETTINGS, from_flat, to_json, with_settings
from aux_rnn.config.settings import Config
from aux_rnn.datasets import evaluation_batches
from aux_rnn.datasets.arrays import Form
from aux_rnn.datasets.dataset import make_permutation
from aux_rnn.errors import first_line
from aux_rnn.model.inputs import RawBatch, read_inputs
from aux_rnn.model.objective import make_model
from aux_rnn.recurrence.cells import CellFactory, with_cell
from aux_rnn.recurrence.precision import highest_precision
from aux_rnn.storage.addresses import is_address, open_workdir
from aux_rnn.storage.model_file import ModelFileError, form_from_json, form_to_json, read_form, read_model, write_model
from aux_rnn.storage.workdir import read_summary, require_config
from aux_rnn.system.jax_settings import standard_jax
from aux_rnn.training.plan import Plan
from aux_rnn.training.steps import empty_train_state


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
      config: all settings it was trained with.
      form: the form of its sequences.
      permutation: the place `[L]` in the sequence that is read at each step; None reads them in order.
      params: its parameters, nested dictionaries of float32 arrays.
      summary: what `summary.json` of a run holds: `test_accuracy` and `validation_accuracy` from 0 to 1 (None without
        such examples), all losses in `results`, `seconds`, `parameters` and more.

    Examples:
      >>> from aux_rnn import fit
      >>> sequences = np.random.default_rng(0).random((40, 8, 2))
      >>> small = dict(segment_length=4, hidden_size=4, decoder_sizes=(4,), batch_size=16, pretrain_epochs=0)
      >>> fitted = fit(sequences, np.arange(40) % 3, train_epochs=1, **small)
      >>> fitted.logits(sequences).shape, fitted.predict(sequences[:5]).shape
      ((40, 3), (5,))
      >>> fitted
      Fitted(dataset='arrays-...', encoder='lstm', auxiliary='reconstruct', parameters=..., test_accuracy=None)
    """

    config: Config
    form: Form
    permutation: np.ndarray | None
    params: Any
    summary: dict[str, Any]

    def __repr__(self) -> str:
        values = {name: self.summary.get(name) for name in ("dataset", "encoder", "auxiliary", "parameters")}
        accuracy = self.summary.get("test_accuracy")
        values["test_accuracy"] = accuracy if accuracy is None else round(accuracy, 4)
        return f"Fitted({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    @property
    def classes_(self) -> np.ndarray:
        """The labels of the classes `[K]`, in the order of the logits."""
        return np.array(self.form.classes)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # no compiled function

    def logits(self, inputs: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:
        """Computes the logits of the classifier.

        Args:
          inputs: sequences in the form of those it was trained on, `[N, ...]`.
          lengths: integers `[N]`, if and only if there were some for training.

        Returns:
          float32 `[N, num_classes]`; a softmax converts them to probabilities.

        Raises:
          DataError: the sequences have another form.
        """
        examples = self.form.read_unlabeled(inputs, lengths)
        batches = evaluation_batches(examples, self.config.run.batch_size)
        with standard_jax():
            return np.concatenate([np.asarray(self._classify(self.params, b)) for b in batches])[: len(examples)]

    def predict(self, inputs: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:
        """Returns the likeliest class of each sequence, `[N]` of `classes_`; for arguments and errors see `logits`."""
        return self.classes_[self.logits(inputs, lengths).argmax(-1)]

    def save(self, path: str | os.PathLike, *, decoders: bool = True) -> None:
        """Writes the network into one file, which `aux_rnn.load` reads in any other program.

        The file is an archive of NumPy without pickled objects. It does not contain the folders of the data.

        Args:
          path: the file; it is replaced if it exists.
          decoders: whether to include the decoders, which are only needed to reconstruct or predict segments. At the
            paper's sizes they are four fifths of the file.

        Raises:
          ModelFileError: the file cannot be written.
        """
        params = {name: tree for name, tree in self.params.items() if decoders or not name.startswith("decoders_")}
        arrays = {f"params/{name}": np.asarray(a) for name, a in traverse_util.flatten_dict(params, sep="/").items()}
        if self.permutation is not None:
            arrays["permutation"] = self.permutation
        # Folders of this machine mean nothing on another one, and a file may be published.
        flat = json.loads(to_json(self.config))
        config = {name: value for name, value in flat.items() if name not in PATH_SETTINGS}
        header = {"config": config, "form": form_to_json(self.form), "summary": self.summary}
        write_model(Path(to_plain(path)).expanduser(), header, arrays)

    @functools.cached_property
    def _classify(self) -> Any:
        model = make_model(self.config.model, self.form.spec)

        def classify(params: Any, batch: RawBatch) -> jax.Array:
            return model.apply({"params": params}, *read_inputs(batch, self.form.spec, self.permutation))[0]

        return jax.jit(highest_precision(classify))


def load(path: str | os.PathLike, checkpoint: str | int = "latest", cell: CellFactory | None = None) -> Fitted:
    """Loads a trained network, without the data that it was trained on.

    Args:
      path: a file that `Fitted.save` wrote; or the folder or the address of a run of `experiments/main.py` or of `fit`
        with `workdir=`.
      checkpoint: of a run: 'latest', 'best' (by the accuracy on the validation split), or the step of a checkpoint.
      cell: the function that makes the cell, if `fit` was called with one that is not a class of `flax.linen`.

    Returns:
      The network, with the form of its sequences, its classes and its permutation. The classes of a run of `main.py`
      are the integers from 0; `form.names` has their names.

    Raises:
      ModelFileError: the file is missing or damaged.
      WorkdirError, CheckpointError: the folder has no run, or no such checkpoint.
      ConfigError: the cell is needed.

    Examples:
      >>> sequences = np.random.default_rng(0).random((40, 8, 2))
      >>> small = dict(segment_length=4, hidden_size=4, decoder_sizes=(4,), batch_size=16, pretrain_epochs=0)
      >>> from aux_rnn import fit
      >>> fitted = fit(sequences, np.arange(40) % 3, train_epochs=1, **small)
      >>> fitted.save("network.npz")
      >>> bool((load("network.npz").predict(sequences) == fitted.predict(sequences)).all())
      True
    """
    name, chosen = to_plain(path), str(checkpoint)
    if not checkpoint_name().accepts(chosen):
        raise setting_error("checkpoint", checkpoint, checkpoint_name().phrase)
    if not is_address(name) and not os.path.isdir(os.path.expanduser(name)):
        if chosen != "latest":
            raise setting_error("checkpoint", checkpoint, f"left out for {name}, which is not the folder of a run")
        return load_file(Path(name).expanduser(), cell)
    with open_workdir(name) as (folder, _):
        return load_run_folder(folder, chosen, cell)


def load_file(path: Path, cell: CellFactory | None) -> Fitted:
    """Loads a network that `Fitted.save` wrote; for errors see `load`."""
    header, arrays = read_model(path)
    try:
        config, form, summary = from_flat(header["config"]), form_from_json(header["form"]), header["summary"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: saved by another version of aux_rnn ({first_line(error)}); use that one"
        ) from error
    permutation = arrays.pop("permutation", None)
    params = traverse_util.unflatten_dict({name.removeprefix("params/"): a for name, a in arrays.items()}, sep="/")
    return Fitted(with_settings(config, **with_cell({}, cell)), form, permutation, params, summary)


def load_run_folder(path: Path, checkpoint: str, cell: CellFactory | None) -> Fitted:
    """Loads a checkpoint of the run in a folder; for errors see `load`."""
    config = with_settings(require_config(path), **with_cell({}, cell))
    form = read_form(path)
    with standard_jax():
        like = empty_train_state(config, form.spec, Plan.of(config, steps_per_epoch=1))
    params = restore_state(path, like, checkpoint).params
    permutation = make_permutation(form.spec.length, config.data.permutation_seed) if form.permuted else None
    return Fitted(config, form, permutation, params, read_summary(path) or {})
