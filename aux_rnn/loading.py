"""Reading trained networks again, from a file or from the folder of a run."""

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from aux_rnn.analysis.restore import find_checkpoint
from aux_rnn.config.fields import reject, to_plain
from aux_rnn.config.serialization import from_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets.describing import describe_form
from aux_rnn.datasets.permutation import make_permutation
from aux_rnn.errors import first_line
from aux_rnn.fitting import Fitted, open_workdir, with_cell
from aux_rnn.recurrence.cells import CellFactory
from aux_rnn.storage.addresses import is_address
from aux_rnn.storage.model_file import ModelFileError, form_from_json, read_form, read_model
from aux_rnn.storage.workdir import read_summary, require_config
from aux_rnn.training.plan import Plan
from aux_rnn.training.steps import create_train_state


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
      >>> fitted = fit(sequences, ["up", "down"] * 20, train_epochs=1, **small)
      >>> fitted.save("network.npz")
      >>> bool((load("network.npz").predict(sequences) == fitted.predict(sequences)).all())
      True
    """
    name, chosen = to_plain(path), str(checkpoint)
    if chosen not in ("latest", "best") and not (chosen.isascii() and chosen.isdigit()):
        raise reject("checkpoint", checkpoint, "latest, best or the step of a checkpoint")
    if not is_address(name) and not os.path.isdir(os.path.expanduser(name)):
        if chosen != "latest":
            raise reject("checkpoint", checkpoint, f"left out for {name}, which is not the folder of a run")
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
    return Fitted(use_cell(config, cell), form, permutation, params, summary)


def load_run_folder(path: Path, checkpoint: str, cell: CellFactory | None) -> Fitted:
    """Loads a checkpoint of the run in a folder; for errors see `load`."""
    config = use_cell(require_config(path), cell)
    form = read_form(path) or describe_form(config.data)
    shapes = jax.eval_shape(functools.partial(create_train_state, config, form.spec, Plan.of(config, 1)))
    like = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    params = find_checkpoint(path, like, checkpoint).state.params
    permutation = make_permutation(form.spec.length, config.data.permutation_seed) if form.permuted else None
    return Fitted(config, form, permutation, params, read_summary(path) or {})


def use_cell(config: Config, cell: CellFactory | None) -> Config:
    """Returns the configuration with a cell in place of its name. Raises ConfigError for what is no cell."""
    encoder: dict[str, Any] = with_cell({}, cell)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **encoder))
