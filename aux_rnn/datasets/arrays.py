"""Checks of arrays that a program has in memory, and their conversion to examples."""

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.examples import Examples

# Prefixes of the names of data sets that are arrays of a program: values and tokens. A fingerprint follows.
VALUES, TOKENS = "arrays-", "token-arrays-"
FORMS = "[N, L, C] of floats or uint8, images [N, H, W, C] of uint8, or tokens [N, L] of integers"


def make_examples(
    inputs: ArrayLike, labels: ArrayLike | None, lengths: ArrayLike | None = None, name: str = ""
) -> Examples:
    """Checks arrays and converts them to examples.

    Args:
      inputs: `[N, L, C]` of floats (taken as they are) or uint8 (divided by 255), images uint8 `[N, H, W, C]` (read row
        by row, divided by 255), or tokens `[N, L]` of integers from 0.
      labels: integers `[N]` from 0; None if they are not known.
      lengths: integers `[N]` from 1 to L, the length of each sequence if they are padded on the left; None if not.
      name: prefix of 'inputs', 'labels' and 'lengths' in messages, such as 'test '.

    Raises:
      DataError: an array has another shape or type, or values that are not allowed.
    """
    sequences = check_inputs(inputs, f"{name}inputs")
    unknown = np.zeros(len(sequences), np.int32)
    classes = unknown if labels is None else check_counts(labels, len(sequences), f"{name}labels")
    if classes.min() < 0:
        raise DataError(f"{name}labels: the smallest is {classes.min()}; must be classes counted from 0")
    if lengths is None:
        return Examples(sequences, classes)
    own = check_counts(lengths, len(sequences), f"{name}lengths")
    longest = count_elements(sequences)
    if own.min() < 1 or own.max() > longest:
        raise DataError(f"{name}lengths: are from {own.min()} to {own.max()}; must be from 1 to {longest}")
    if is_padded_right(sequences, own):
        raise DataError(f"{name}inputs: are padded on the right, going by the lengths; must be padded on the left")
    return Examples(sequences, classes, own)


def is_padded_right(sequences: np.ndarray, lengths: np.ndarray) -> bool:
    """Returns whether all shorter sequences end in zeros, and some do not begin with them."""
    longest = count_elements(sequences)
    is_used = (sequences.reshape(len(sequences), longest, -1) != 0).any(axis=-1)
    places = np.arange(longest)
    right, left = places >= lengths[:, None], places < longest - lengths[:, None]
    return not (is_used & right).any() and bool((is_used & left).any())


def check_inputs(inputs: ArrayLike, name: str) -> np.ndarray:
    """Returns the inputs of `make_examples` as uint8, float32 or int32."""
    array = as_array(inputs, name)
    found = f"{name}: {array.dtype} {list(array.shape)}"
    if 0 in array.shape:
        raise DataError(f"{found} is empty; must be {FORMS}")
    is_float, is_integer = array.dtype.kind == "f", array.dtype.kind in "iu"
    if array.ndim == 2 and is_integer:
        if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
            raise DataError(f"{name}: tokens are from {array.min()} to {array.max()}; must be from 0, and below 2^31")
        return array.astype(np.int32)
    if array.ndim == 2 and is_float:
        raise DataError(f"{found}: must be [N, L, C]; with one value per element write {name.split()[-1]}[..., None]")
    if (array.ndim in (3, 4) and array.dtype == np.uint8) or (array.ndim == 3 and is_float):
        return check_finite(array, name) if is_float else array
    raise DataError(f"{found}: must be {FORMS}")


def check_finite(array: np.ndarray, name: str) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, which is reported
        values = np.ascontiguousarray(array, np.float32)
    strange = ~np.isfinite(values)
    if strange.any():
        place = np.unravel_index(int(strange.argmax()), values.shape)
        where = ", ".join(map(str, place))
        count = f"{strange.sum():,} of {values.size:,} values"
        raise DataError(f"{name}: {array[place]} at [{where}], {count}; must be finite in float32")
    return values


def check_counts(values: ArrayLike, count: int, name: str) -> np.ndarray:
    """Returns integers, one per example, as int32 `[count]`."""
    array = as_array(values, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{name}: {array.dtype} {list(array.shape)}: must be integers [N], one per example")
    if len(array) != count:
        raise DataError(f"{name}: there are {len(array):,} for {count:,} sequences; must be one per example")
    if array.max() > np.iinfo(np.int32).max:
        raise DataError(f"{name}: the largest is {array.max()}; must be below 2^31")
    return array.astype(np.int32)


def as_array(values: ArrayLike, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError:
        raise DataError(f"{name}: are of unequal shapes; must be one array, padded on the left, with lengths") from None


def count_elements(inputs: np.ndarray) -> int:
    """Returns the length `L` of sequences, or of images that are read pixel by pixel."""
    return int(np.prod(inputs.shape[1:-1])) if inputs.ndim > 2 else inputs.shape[1]


def describe_sequences(
    examples: Examples, num_classes: int | None = None, vocabulary_size: int | None = None
) -> SequenceSpec:
    """Returns the shape of the sequences; classes and tokens that are not given are counted from 0 to the largest."""
    inputs = examples.inputs
    is_text = inputs.ndim == 2
    return SequenceSpec(
        length=count_elements(inputs),
        channels=1 if is_text else inputs.shape[-1],
        num_classes=num_classes or int(examples.labels.max()) + 1,
        vocabulary_size=(vocabulary_size or int(inputs.max()) + 1) if is_text else 0,
    )


@dataclasses.dataclass(frozen=True)
class Form:
    """Describes what all examples that one network reads have in common.

    Attributes:
      spec: the shape of the sequences, their classes and tokens.
      dtype: of the values.
      is_padded: whether there are lengths.
    """

    spec: SequenceSpec
    dtype: np.dtype
    is_padded: bool

    @classmethod
    def of(cls, examples: Examples, spec: SequenceSpec) -> "Form":
        return cls(spec, examples.inputs.dtype, examples.lengths is not None)

    def check(self, examples: Examples, name: str = "") -> None:
        """Raises DataError for examples of another form; for `name` see `make_examples`."""
        spec, inputs, labels = self.spec, examples.inputs, examples.labels
        channels = 1 if inputs.ndim == 2 else inputs.shape[-1]
        found, expected = (count_elements(inputs), channels, inputs.dtype), (spec.length, spec.channels, self.dtype)
        is_text = inputs.ndim == 2
        if is_text != bool(spec.vocabulary_size) or found[: 2 if is_text else 3] != expected[: 2 if is_text else 3]:
            shown, allowed = (f"{length} x {values} of {dtype}" for length, values, dtype in (found, expected))
            raise DataError(f"{name}inputs: are sequences of {shown}; must be of {allowed}, as for training")
        if (examples.lengths is not None) != self.is_padded:
            raise DataError(f"{name}lengths: must be given if and only if they were for training")
        if labels.max() >= spec.num_classes:
            allowed = f"from 0 to {spec.num_classes - 1}, as there are {spec.num_classes} classes (see num_classes)"
            raise DataError(f"{name}labels: the largest is {labels.max()}; must be {allowed}")
        if spec.vocabulary_size and inputs.max() >= spec.vocabulary_size:
            allowed = f"from 0 to {spec.vocabulary_size - 1} (see vocabulary_size)"
            raise DataError(f"{name}inputs: the largest token is {inputs.max()}; must be {allowed}")


def is_arrays(dataset: str) -> bool:
    """Returns whether a name denotes arrays of a program."""
    return dataset.startswith((VALUES, TOKENS))
