"""A classifier with the interface of scikit-learn."""

import dataclasses
import inspect
from typing import Any

import jax
import numpy as np
import scipy.special
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from aux_rnn.api.fitted import Fitted
from aux_rnn.api.fitting import check_counts, fit_examples
from aux_rnn.config.fields import is_integer
from aux_rnn.config.settings import ModelConfig, OptimizerConfig, RunConfig
from aux_rnn.datasets import DataError
from aux_rnn.datasets.alignment import as_array
from aux_rnn.datasets.arrays import is_list, is_ragged, read_arrays
from aux_rnn.recurrence.cells import with_cell

OF_RUNS = ("batch_size", "pretrain_epochs", "train_epochs")  # the settings of a run that mean something here
# The paper's values are made for long sequences and accelerators; these are for some hundred short ones and a CPU.
DEFAULTS: dict[str, Any] = {
    **{field.name: field.default for group in (ModelConfig, OptimizerConfig) for field in dataclasses.fields(group)},
    **{field.name: field.default for field in dataclasses.fields(RunConfig) if field.name in OF_RUNS},
    **dict(embedding_size=16, hidden_size=32, head_sizes=(32,), decoder_sizes=(32,), decoder_head_sizes=(32,)),
    **dict(optimizer="adam", learning_rate=3e-3, batch_size=32, pretrain_epochs=0, train_epochs=50),
}
OWN = dict(cell=None, vocabulary_size=None, padding=None, channels_first=None, random_state=0, verbose=False)
PARAMETERS: dict[str, Any] = {**DEFAULTS, **OWN}
TO_PREDICT = "no_validation"  # as scikit-learn's `validate_data` takes y where there is none


class SequenceClassifier(ClassifierMixin, BaseEstimator):
    """Classifies sequences with a recurrent network and an auxiliary loss, as an estimator of scikit-learn.

    It trains as `aux_rnn.fit` does, on all examples that it is given, and can be cloned, pickled, searched over and put
    into a pipeline.

    Args:
      **params: settings by name, such as `auxiliary='predict'` or `hidden_size=64`: those of `ModelConfig` and
        `OptimizerConfig`, `batch_size`, `pretrain_epochs` and `train_epochs`. `segment_length` and `batch_size` are
        lowered to the length of the sequences and the number of examples where they are larger. Sizes, optimizer and
        epochs have smaller defaults than in `aux_rnn.fit`; the signature shows them. In addition:
        `cell`, `padding` and `channels_first` as in `aux_rnn.fit`;
        `vocabulary_size`, an integer if the sequences are tokens `[N, L]`, integers from 0;
        `random_state`, an integer, a `numpy.random.RandomState` or None, the seed of everything;
        `verbose`, whether to show the training on standard error.

    Attributes:
      classes_: the K classes in ascending order.
      fitted_: the trained network, an `aux_rnn.Fitted`, which `fitted_.save` writes to a file.
      n_features_in_: the number of elements L; not set for sequences of unequal length.

    Examples:
      >>> sequences, labels = np.random.default_rng(0).random((40, 8)), np.array(["a", "b"] * 20)
      >>> classifier = SequenceClassifier(auxiliary="none", hidden_size=4, train_epochs=1)
      >>> classifier.fit(sequences, labels).predict_proba(sequences[:3]).shape
      (3, 2)
    """

    def __init__(self, **params: Any) -> None:
        for name, default in PARAMETERS.items():
            setattr(self, name, params.pop(name, default))
        if params:
            allowed = ", ".join(sorted(PARAMETERS))
            raise TypeError(f"SequenceClassifier has no parameter {', '.join(params)}; it has {allowed}")

    def fit(self, X: ArrayLike, y: ArrayLike, lengths: ArrayLike | None = None) -> "SequenceClassifier":  # noqa: N803
        """Trains a network.

        Args:
          X: numbers `[N, L]` or `[N, L, C]`, taken as they are; uint8, also images `[N, H, W, C]`, is divided by 255.
            Or a list of N arrays `[L]` or `[L, C]` of unequal length.
          y: N labels of any kind.
          lengths: integers `[N]`, the length of each sequence in an array that is padded; None for all else.

        Returns:
          The classifier itself.

        Raises:
          ValueError: a parameter or an array is not allowed; ConfigError and DataError are kinds of it.
          TrainingError: the loss or a gradient was not finite.
        """
        check_counts(vocabulary_size=self.vocabulary_size)
        inputs, labels = self._validate(X, y)
        check_classification_targets(labels)
        self.classes_, classes = np.unique(labels, return_inverse=True)
        examples, form = read_arrays(
            inputs,
            classes,
            lengths,
            padding=self.padding,
            channels_first=self.channels_first,
            num_classes=len(self.classes_),
            vocabulary_size=self.vocabulary_size,
        )
        form = dataclasses.replace(form, classes=tuple(self.classes_.tolist()))
        settings = {name: getattr(self, name) for name in DEFAULTS if name != "encoder" or self.cell is None}
        settings = lower(settings, form.spec.length, len(examples))
        settings |= dict(seed=draw_seed(self.random_state), validation_fraction=0.0)
        self.fitted_: Fitted = fit_examples(examples, form, with_cell(settings, self.cell), progress=bool(self.verbose))
        return self

    def predict_proba(self, X: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:  # noqa: N803
        """Returns the probability of each class, float64 `[N, K]`; arguments as those of `fit`."""
        check_is_fitted(self)
        inputs, fitted = self._validate(X), self.fitted_
        form = fitted.form
        if form.is_padded and is_list(inputs):
            longest = max(as_array(each, "X").shape[-1 if form.channels_first else 0] for each in inputs)
            # The parameters do not depend on the length.
            spec = dataclasses.replace(form.spec, length=max(longest, form.spec.length))
            fitted = dataclasses.replace(fitted, form=dataclasses.replace(form, spec=spec))
        elif form.is_padded and lengths is None:
            lengths = np.full(len(inputs), form.spec.length)
        return scipy.special.softmax(fitted.logits(inputs, lengths).astype(np.float64), axis=-1)

    def predict(self, X: ArrayLike, lengths: ArrayLike | None = None) -> np.ndarray:  # noqa: N803
        """Returns the most likely class of each sequence, `[N]`; arguments as those of `fit`."""
        likeliest = self.predict_proba(X, lengths).argmax(axis=-1)
        return self.classes_[likeliest]

    def score(
        self,
        X: ArrayLike,  # noqa: N803
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
    ) -> float:
        """Returns the accuracy of the predictions, from 0 to 1."""
        return accuracy_score(y, self.predict(X, lengths), sample_weight=sample_weight)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _validate(self, X: Any, y: Any = TO_PREDICT) -> Any:  # noqa: N803
        """Returns inputs as `aux_rnn.fit` takes them; with `y`, also the labels as an array."""
        is_training = y is not TO_PREDICT
        if is_list(X) and (is_ragged(X) or (not is_training and self.fitted_.form.is_padded)):
            return (X, column_or_1d(y, warn=True)) if is_training else X
        if hasattr(X, "__array__") and not hasattr(X, "iloc"):  # data frames have names, which scikit-learn compares
            X = as_array(X, "X")  # noqa: N806
        checked = validate_data(self, X, y, reset=is_training, allow_nd=True)
        array = checked[0] if is_training else checked
        if self.vocabulary_size is None and array.dtype != np.uint8 and array.dtype.kind != "f":
            array = array.astype(np.float32)
        elif self.vocabulary_size is not None and array.dtype.kind not in "iu":
            raise DataError(f"X: {array.dtype} {list(array.shape)}: must be tokens, integers, by vocabulary_size")
        return (array, checked[1]) if is_training else array


# scikit-learn takes the names and defaults of the parameters from the signature.
SequenceClassifier.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    + [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value) for name, value in PARAMETERS.items()]
)


def lower(settings: dict[str, Any], length: int, count: int) -> dict[str, Any]:
    """Returns the settings with a segment and a batch that are at most as large as the sequences and devices allow."""
    devices = jax.device_count()
    if count < devices:
        raise DataError(f"n_samples={count}: must be at least {devices}, the number of devices")
    longest = length - 1 if settings["auxiliary"] in ("predict", "both") else length
    limits = {"segment_length": max(longest, 1), "batch_size": count // devices * devices}
    lowered = {name: min(settings[name], limit) for name, limit in limits.items() if is_integer(settings[name])}
    return {**settings, **lowered}


def draw_seed(random_state: Any) -> Any:
    """Returns a seed itself, or one drawn from a `RandomState` or, for None, from NumPy's global one."""
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return check_random_state(random_state).randint(2**31 - 1)
    return random_state
