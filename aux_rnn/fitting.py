"""Training on data that somebody has: arrays in memory, or a data set by its name, in one call."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from numpy.typing import ArrayLike

from aux_rnn.config.fields import ConfigError, format_value, integer, is_plain_text, reject, to_plain
from aux_rnn.config.serialization import from_flat, to_json
from aux_rnn.config.settings import Config
from aux_rnn.datasets import DataError, Examples, Splits, divide_examples, evaluation_batches
from aux_rnn.datasets.arrays import TOKENS, VALUES, Form, read_arrays
from aux_rnn.datasets.describing import describe_form
from aux_rnn.datasets.examples import fingerprint
from aux_rnn.datasets.loading import divide_rows
from aux_rnn.distributed import SINGLE_PROCESS
from aux_rnn.model.inputs import make_input_fn
from aux_rnn.model.objective import make_model
from aux_rnn.recurrence.cells import CellFactory, check_cell
from aux_rnn.recurrence.precision import highest_precision
from aux_rnn.storage.addresses import is_address, local_copy
from aux_rnn.storage.model_file import form_to_json, write_model
from aux_rnn.storage.remote import RemoteCopy
from aux_rnn.storage.workdir import REPORT
from aux_rnn.system.jax_settings import standard_jax
from aux_rnn.system.signals import StopRequest
from aux_rnn.training.experiment import Experiment, assemble, check_pixel_loss, check_step, create_experiment
from aux_rnn.training.loop import Loop
from aux_rnn.training.outputs import NullOutputs, open_outputs
from aux_rnn.training.progress import Progress, unseen_progress
from aux_rnn.training.train import announce, compile_run, describe_extension, finish

FOR_ARRAYS = ("train_examples", "validation_fraction")  # the settings of data that mean something for arrays


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
      >>> sequences = np.random.default_rng(0).random((40, 8, 2))
      >>> small = dict(segment_length=4, hidden_size=4, decoder_sizes=(4,), batch_size=16, pretrain_epochs=0)
      >>> fitted = fit(sequences, np.arange(40) % 3, train_epochs=1, **small)
      >>> fitted.logits(sequences).shape, fitted.predict(sequences[:5]).shape
      ((40, 3), (5,))
    """

    config: Config
    form: Form
    permutation: np.ndarray | None
    params: Any
    summary: dict[str, Any]

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

        The file is an archive of NumPy without pickled objects.

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
        config = json.loads(to_json(self.config))
        header = {"config": config, "form": form_to_json(self.form), "summary": self.summary}
        write_model(Path(to_plain(path)).expanduser(), header, arrays)

    @functools.cached_property
    def _classify(self) -> Any:
        spec = self.form.spec
        model, read = make_model(self.config.model, spec), make_input_fn(spec, self.permutation)

        return jax.jit(highest_precision(lambda params, batch: model.apply({"params": params}, *read(batch))[0]))


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

    The defaults of all settings are the paper's, made for long sequences and accelerators; `segment_length` must not be
    above the length of the sequences, `batch_size` not above the number of examples.

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
      vocabulary_size: of tokens; by default the largest of them and 1.
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
      aux_rnn.config.fields.ConfigError: --segment_length=600: must be at most 8 to reconstruct sequences of 8 ...
    """
    counts = {"num_classes": num_classes, "vocabulary_size": vocabulary_size}
    check_counts(**counts)
    layout = {"padding": padding, "channels_first": channels_first}
    examples, form = read_arrays(inputs, labels, lengths, **layout, **counts)  # type: ignore[arg-type]
    reported = None
    if test is not None:
        if len(test) not in (2, 3):
            raise DataError(f"test: has {len(test)} parts; must be (inputs, labels) or (inputs, labels, lengths)")
        reported = form.read(*test, name="test ")  # type: ignore[misc, arg-type]
    return fit_examples(
        examples, form, with_cell(settings, cell), reported, workdir=workdir, progress=progress, extend=extend
    )


def check_counts(**counts: Any) -> None:
    """Raises ConfigError for a number, such as `num_classes`, that is neither None nor a positive integer."""
    for name, count in counts.items():
        if count is not None and not integer(1).accepts(to_plain(count)):
            raise reject(name, count, integer(1).phrase)


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
      dataset: a name such as 'digits', 'tfds:NAME' for any images that tfds has prepared as array_record, or
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
    return train(experiment, describe_form(experiment.config.data), workdir, progress, extend)


def with_cell(settings: dict[str, Any], cell: CellFactory | None) -> dict[str, Any]:
    """Returns the settings with a cell as their `encoder`. Raises ConfigError if they name another one."""
    if cell is None:
        return settings
    if not callable(cell):
        check_cell(cell)
    if "encoder" in settings:
        raise ConfigError(f"encoder={format_value(settings['encoder'])}: must be left out where there is a cell")
    return {**settings, "encoder": cell}


def configure(settings: dict[str, Any], form: Form, data: str) -> Config:
    """The configuration for arrays. Its data set is named after them, so that a run never goes on with others."""
    config = from_flat({**settings, "dataset": (TOKENS if form.spec.vocabulary_size else VALUES) + data})
    for field in dataclasses.fields(config.data):
        if field.name in settings and field.name not in FOR_ARRAYS:
            raise ConfigError(f"{field.name}={settings[field.name]}: must be left out; arrays are taken as they are")
    check_pixel_loss(config, form.dtype)
    return config


def split(config: Config, examples: Examples, test: Examples) -> Splits:
    """Keeps a part apart for validation, by seed; raises ConfigError if too few are left."""
    sizes = divide_examples(config.data, len(examples), len(test))
    rows, held_out = divide_rows(len(examples), sizes.validation, config.run.seed)
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
        shown = open_progress(progress) or stack.enter_context(unseen_progress())
        folder, remote = (None, None) if workdir is None else stack.enter_context(open_workdir(workdir))
        files = open_outputs(folder, experiment.config, True, remote, extend) if folder else NullOutputs(Path())
        stack.enter_context(contextlib.closing(files))
        announce(experiment, f"results in {workdir}" if folder else "nothing is written", shown)
        if files.extended_from:
            shown.say(describe_extension(experiment, files.extended_from))
        compile_seconds = compile_run(experiment, SINGLE_PROCESS)
        files.write_config(form)
        loop = stack.enter_context(contextlib.closing(Loop(experiment, files, shown, SINGLE_PROCESS, StopRequest())))
        loop.stats.clock.seconds["compile"] += compile_seconds
        summary = finish(loop)
        if folder and (folder / REPORT).exists():
            shown.say(f"report in {workdir}/{REPORT}")
        params = jax.device_get(loop.state.params)
        return Fitted(experiment.config, form, experiment.permutation, params, summary)


def open_workdir(workdir: str | os.PathLike) -> contextlib.AbstractContextManager[tuple[Path, RemoteCopy | None]]:
    """Opens the folder, with ~ resolved, or a local copy of the address of a run, which is updated."""
    name = to_plain(workdir)
    if not isinstance(name, str) or not name or not is_plain_text(name):
        raise reject("workdir", workdir, "a folder, an address such as gs://BUCKET/RUN, or None to write nothing")
    return local_copy(name) if is_address(name) else contextlib.nullcontext((Path(os.path.expanduser(name)), None))


def open_progress(progress: Progress | bool | None) -> Progress | None:
    if progress is None or isinstance(progress, bool):
        return Progress() if progress else None
    if not isinstance(progress, Progress):
        raise ConfigError(f"progress={progress!r}: must be True, None or a Progress, as made by aux_rnn.Progress()")
    return progress
