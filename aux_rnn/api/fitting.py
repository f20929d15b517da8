"""Training on data that somebody has: arrays in memory, or a data set by its name, in one call."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from aux_rnn.api.fitted import Fitted
from aux_rnn.config.fields import ConfigError, integer, setting_error, to_plain
from aux_rnn.config.serialization import from_flat
from aux_rnn.config.settings import Config
from aux_rnn.datasets import DataError, Examples, Splits, divide_examples, find_dataset
from aux_rnn.datasets.arrays import TOKENS, VALUES, Form, read_arrays
from aux_rnn.datasets.examples import fingerprint
from aux_rnn.datasets.loading import split_rows
from aux_rnn.recurrence.cells import CellFactory, with_cell
from aux_rnn.storage.addresses import open_workdir
from aux_rnn.storage.workdir import REPORT
from aux_rnn.system.jax_settings import standard_jax
from aux_rnn.training.experiment import Experiment, assemble, check_pixel_loss, check_step, create_experiment
from aux_rnn.training.outputs import NullOutputs, RunOutputs
from aux_rnn.training.progress import Progress, null_progress
from aux_rnn.training.train import announce, run_experiment

FOR_ARRAYS = ("train_examples", "validation_fraction")  # the settings of data that mean something for arrays


def fit(
    inputs: ArrayLike,
    labels: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    test: Sequence[ArrayLike] | None = None,
    padding: str | None = None,
    channels_first: bool | None = None,
    num_classes: int | None = None,
    vocabulary_size: int | None = None,
    cell: CellFactory | None = None,
    workdir: str | os.PathLike | None = None,
    extend: bool = False,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Fitted:
    """Trains a network with an auxiliary loss to classify sequences of your own.

    The defaults of the settings are those of the paper where it states them, for long sequences and accelerators.
    `segment_length` must not exceed the length of the sequences, nor `batch_size` the number of examples.

    Args:
      inputs: `[N, L, C]` or `[N, L]` of floats (taken as they are: scale them to about 0 to 1), `[N, L, C]` of uint8
        (divided by 255), images `[N, H, W, C]` of uint8 (read row by row, divided by 255), tokens `[N, L]` of integers
        from 0, or a list of N sequences `[L, C]` or `[L]` of unequal length.
      labels: `[N]` of integers, booleans or strings.
      lengths: integers `[N]` from 1 to L where sequences are padded, with any value; None where none is.
      test: `(inputs, labels)` or `(inputs, labels, lengths)` to report the accuracy on, in the same form.
      padding: side of the padding, 'left' or 'right'. None takes the side on which every sequence repeats one value,
        and refuses sequences that do so on both sides or on none.
      channels_first: True for `[N, C, L]` and `[N, C, H, W]`, False for `[N, L, C]` and `[N, H, W, C]`. None means
        False, but refuses arrays of fewer steps than channels, and images that seem to have more than four channels.
      num_classes: K, if labels are from 0 to K - 1 and some do not occur; by default the labels that occur are the
        classes, in ascending order.
      vocabulary_size: number of tokens; by default the largest token plus one.
      cell: a function from a number of units to a cell of `flax.linen`, whose carry ends with its hidden state, such as
        the class `flax.linen.GRUCell`; None takes the cell that the setting `encoder` names.
      workdir: a folder or an address such as 'gs://BUCKET/RUN' for checkpoints, metrics, pictures, a report and the
        summary. The same call with the same folder continues a run that was interrupted. None writes nothing.
      extend: whether to continue the run in the folder with more `train_epochs` than it had; its learning rate is then
        halved at 30, 60 and 90 % of the new number.
      progress: where to show the run: True shows it on standard error, `Progress(stream)` elsewhere, None not at all.
      **settings: settings by name, such as `auxiliary='predict'`; the source of `aux_rnn.config.settings` describes
        all of them. Those of data sets do not apply, but for `validation_fraction` (0.1 of the examples are kept apart)
        and `train_examples`. With a folder, `pictures=False` saves some seconds.

    Returns:
      The trained network, after the last step.

    Raises:
      ConfigError: a setting is unknown, out of range, or does not fit the data.
      DataError: an array has another shape or type than it must, or values that are not allowed.
      WorkdirError, CheckpointError, StorageError: of `workdir`.
      TrainingError: the loss or a gradient was not finite.

    Source: Trinh, Dai, Luong and Le (2018), *Learning Longer-term Dependencies in RNNs with Auxiliary Losses*.

    Examples:
      >>> sequences = np.random.default_rng(0).random((40, 8, 2))
      >>> small = dict(segment_length=4, hidden_size=4, decoder_sizes=(4,), batch_size=16, pretrain_epochs=0)
      >>> fitted = fit(sequences, np.arange(40) % 3, auxiliary="reconstruct", train_epochs=1, **small)
      >>> fitted.summary["status"], fitted.summary["examples"]
      ('complete', {'train': 36, 'validation': 4, 'test': 0})
      >>> fit(sequences, np.arange(40) % 3, segment_length=600)
      Traceback (most recent call last):
      aux_rnn.config.fields.ConfigError: segment_length=600: must be at most 8 to reconstruct sequences of 8 ...
    """
    counts = {"num_classes": num_classes, "vocabulary_size": vocabulary_size}
    check_counts(**counts)
    layout = {"padding": padding, "channels_first": channels_first}
    examples, form = read_arrays(inputs, labels, lengths, **layout, **counts)  # type: ignore[arg-type]
    reported = None
    if test is not None:
        parts = len(test) if hasattr(test, "__len__") else None
        if parts not in (2, 3):
            found = f"is {test!r}" if parts is None else f"has {parts} parts"
            raise DataError(f"test: {found}; must be (inputs, labels) or (inputs, labels, lengths)")
        reported = form.read(*test, name="test ")  # type: ignore[misc, arg-type]
    return fit_examples(
        examples, form, with_cell(settings, cell), reported, workdir=workdir, progress=progress, extend=extend
    )


def check_counts(**counts: Any) -> None:
    """Raises ConfigError for a number, such as `num_classes`, that is neither None nor a positive integer."""
    for name, count in counts.items():
        if count is not None and not integer(1).accepts(to_plain(count)):
            raise setting_error(name, count, integer(1).phrase)


def fit_examples(
    examples: Examples,
    form: Form,
    settings: dict[str, Any],
    test: Examples | None = None,
    *,
    workdir: str | os.PathLike | None = None,
    progress: Progress | bool | None = None,
    extend: bool = False,
) -> Fitted:
    """Trains a network on examples that have been read; for arguments and errors see `fit`."""
    test = examples.take(slice(0)) if test is None else test
    config = configure(settings, form, fingerprint(examples, test))
    check_step(config, form.spec)
    return train(assemble(config, form.spec, split(config, examples, test)), form, workdir, progress, extend)


def fit_dataset(
    dataset: str,
    *,
    workdir: str | os.PathLike | None = None,
    extend: bool = False,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Fitted:
    """Trains a network on a data set by its name, as `experiments/main.py` does.

    Args:
      dataset: a name such as 'digits', 'tfds:NAME' for any images that tfds has prepared, or
        'file:PATH' for a file .npz, .csv, .tsv or .ts.
      workdir: as in `fit`.
      extend: as in `fit`.
      progress: as in `fit`.
      **settings: as in `fit`; those of data sets apply, such as `data_dir` and `image_size`.

    Returns:
      The trained network, after the last step.

    Raises:
      DataError: the data set cannot be had or read.
      ConfigError, WorkdirError, CheckpointError, StorageError, TrainingError: as `fit` does.

    Examples:
      >>> fit_dataset("tfds:svhn_cropped", data_dir="nowhere")
      Traceback (most recent call last):
      aux_rnn.datasets.errors.DataError: ...
    """
    experiment = create_experiment(from_flat({"dataset": dataset, **settings}))
    data = experiment.config.data
    return train(experiment, find_dataset(data).describe(data), workdir, progress, extend)


def configure(settings: dict[str, Any], form: Form, data: str) -> Config:
    """The configuration for arrays. Its data set is named after them, so that a run never continues with others."""
    config = from_flat({**settings, "dataset": (TOKENS if form.spec.vocabulary_size else VALUES) + data})
    for field in dataclasses.fields(config.data):
        if field.name in settings and field.name not in FOR_ARRAYS:
            raise ConfigError(f"{field.name}={settings[field.name]}: must be left out; arrays are taken as they are")
    check_pixel_loss(config, form.dtype)
    return config


def split(config: Config, examples: Examples, test: Examples) -> Splits:
    """Keeps a part apart for validation, by seed; raises ConfigError if too few are left."""
    sizes = divide_examples(config.data, len(examples), len(test))
    rows, held_out = split_rows(len(examples), sizes.validation, config.run.seed)
    return Splits(examples.take(np.sort(rows[: sizes.train])), examples.take(np.sort(held_out)), test)


def train(
    experiment: Experiment,
    form: Form,
    workdir: str | os.PathLike | None,
    progress: Progress | bool | None,
    extend: bool = False,
) -> Fitted:
    """Trains from the newest checkpoint in the folder, if there is one, in this process alone."""
    with standard_jax(), contextlib.ExitStack() as stack:
        shown = open_progress(progress) or stack.enter_context(null_progress())
        folder, remote = (None, None) if workdir is None else stack.enter_context(open_workdir(workdir))
        files = RunOutputs(folder, experiment.config, remote, extend) if folder else NullOutputs(Path())
        stack.enter_context(contextlib.closing(files))
        announce(experiment, f"results in {workdir}" if folder else "nothing is written", shown)
        summary, params = run_experiment(experiment, files, form, shown)
        if folder and (folder / REPORT).exists():
            shown.say(f"report in {workdir}/{REPORT}")
        return Fitted(experiment.config, form, experiment.permutation, jax.device_get(params), summary)


def open_progress(progress: Progress | bool | None) -> Progress | None:
    if progress is None or isinstance(progress, bool):
        return Progress() if progress else None
    if not isinstance(progress, Progress):
        raise ConfigError(f"progress={progress!r}: must be True, None or a Progress, as made by aux_rnn.Progress()")
    return progress
