"""Checks of arrays that a program has in memory, and their conversion to examples."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets.alignment import align_left, as_array, move_channels_last, sequence_shape, stack_sequences
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.examples import Examples
from aux_rnn.datasets.labels import encode_labels

# Prefixes of the names of data sets that are arrays of a program: values and tokens. A fingerprint follows.
VALUES, TOKENS = "arrays-", "token-arrays-"
FORMS = "[N, L, C] or [N, L] of floats, [N, L, C] of uint8, images [N, H, W, C] of uint8, or tokens [N, L] of integers"


@dataclasses.dataclass(frozen=True)
class Form:
    """Describes what all examples that one network reads have in common.

    Attributes:
      spec: the shape of the sequences, their classes and tokens.
      dtype: of the values.
      is_padded: whether there are lengths.
      classes: the labels of the K classes, in the order of the network's outputs.
      padding: side on which sequences are padded, 'left' or 'right'.
      channels_first: whether inputs are `[N, C, L]` or `[N, C, H, W]`.
      names: the names of the classes of a data set; empty for arrays, whose labels say it.
      permuted: whether the elements are read in one fixed random order.
    """

    spec: SequenceSpec
    dtype: np.dtype
    is_padded: bool
    classes: tuple[Any, ...]
    padding: str = "left"
    channels_first: bool = False
    names: tuple[str, ...] = ()
    permuted: bool = False

    def read(
        self, inputs: ArrayLike, labels: ArrayLike | None, lengths: ArrayLike | None = None, name: str = ""
    ) -> Examples:
        """Reads arrays as those of `read_arrays` were read.

        Raises DataError for arrays of another form; its text begins with `name`.
        """
        try:
            examples = self.read_unlabeled(inputs, lengths)
            indices, _ = encode_labels(labels, len(examples), np.array(self.classes))
        except DataError as error:
            raise DataError(f"{name}{error}") from error
        return dataclasses.replace(examples, labels=indices)

    def read_unlabeled(self, inputs: ArrayLike, lengths: ArrayLike | None = None) -> Examples:
        """Reads arrays without labels, which become 0; raises DataError for arrays of another form."""
        longest = self.spec.length if self.is_padded else None
        return self.check(read_sequences(inputs, lengths, self.padding, self.channels_first, longest)[0])

    def check(self, examples: Examples) -> Examples:
        """Returns the examples, or raises DataError if they have another form."""
        spec, inputs = self.spec, examples.inputs
        found, expected = (*sequence_shape(inputs), inputs.dtype), (spec.length, spec.channels, self.dtype)
        is_text = inputs.ndim == 2
        compared = 2 if is_text else 3
        if is_text != bool(spec.vocabulary_size) or found[:compared] != expected[:compared]:
            shown, allowed = (f"{length} x {values} of {dtype}" for length, values, dtype in (found, expected))
            is_flat = not is_text and spec.channels == 1 and inputs.shape[1] * inputs.shape[2] == spec.length
            remedy = "; give images [N, H, W] as inputs[..., None]" if is_flat else ""
            raise DataError(f"inputs: are sequences of {shown}; must be of {allowed}, as for training{remedy}")
        if (examples.lengths is not None) != self.is_padded:
            raise DataError("lengths: must be given if and only if they were for training")
        if is_text and inputs.max() >= spec.vocabulary_size:
            allowed = f"from 0 to {spec.vocabulary_size - 1} (see vocabulary_size)"
            raise DataError(f"inputs: the largest token is {inputs.max()}; must be {allowed}")
        return examples


def read_arrays(
    inputs: ArrayLike,
    labels: ArrayLike,
    lengths: ArrayLike | None = None,
    *,
    padding: str | None = None,
    channels_first: bool | None = None,
    num_classes: int | None = None,
    vocabulary_size: int | None = None,
) -> tuple[Examples, Form]:
    """Checks arrays to train on and converts them to examples; `aux_rnn.fit` describes the arguments.

    Returns the examples, padded with zeros on the left, and their form. Raises ConfigError if `padding` is not a side,
    and DataError if an array has another shape or type, or values that are not allowed.
    """
    unlabeled, side = read_sequences(inputs, lengths, padding, channels_first)
    known = None if num_classes is None else np.arange(num_classes)
    indices, classes = encode_labels(labels, len(unlabeled), known)
    read = unlabeled.inputs
    tokens = (vocabulary_size or int(read.max()) + 1) if read.ndim == 2 else 0
    spec = SequenceSpec(*sequence_shape(read), len(classes), tokens)
    is_padded = unlabeled.lengths is not None
    form = Form(spec, read.dtype, is_padded, tuple(classes.tolist()), side, bool(channels_first))
    return form.check(dataclasses.replace(unlabeled, labels=indices)), form


def read_sequences(
    inputs: Any,
    lengths: ArrayLike | None,
    padding: str | None = None,
    channels_first: bool | None = None,
    longest: int | None = None,
) -> tuple[Examples, str]:
    """Reads inputs and lengths as `read_arrays` does, and returns examples with labels 0 and the side of the padding.

    Lists of sequences are padded to `longest`; if it is None, only those of unequal length are padded, to the longest.
    """
    own, side = None, padding or "left"
    if is_list(inputs) and (longest or is_ragged(inputs)) and lengths is None:
        array, own = stack_sequences(inputs, channels_first, longest)
    else:
        array = move_channels_last(as_array(inputs, "inputs"), channels_first)
    check_kind(array)
    if lengths is not None:
        own = check_lengths(lengths, len(array), sequence_shape(array)[0])
        array, side = align_left(array, own, padding)
    return Examples(convert_inputs(array), np.zeros(len(array), np.int32), own), side


def is_list(inputs: Any) -> bool:
    """Returns whether inputs are a list of sequences: a list or tuple, or an array or series of objects."""
    is_object = getattr(getattr(inputs, "dtype", None), "kind", "") == "O"
    return isinstance(inputs, list | tuple) or (is_object and np.ndim(inputs) > 0)


def is_ragged(sequences: Sequence[Any]) -> bool:
    """Returns whether sequences differ in shape."""
    return len({as_array(each, "inputs").shape for each in sequences}) > 1


def check_kind(array: np.ndarray) -> None:
    """Raises DataError unless an array has the shape and the type of inputs."""
    found = f"inputs: {array.dtype} {list(array.shape)}"
    if 0 in array.shape:
        raise DataError(f"{found} is empty; must be {FORMS}")
    kinds = {2: "fiu", 3: "f"}.get(array.ndim, "")
    if array.dtype.kind not in kinds and not (array.ndim in (3, 4) and array.dtype == np.uint8):
        raise DataError(f"{found}: must be {FORMS}")


def convert_inputs(array: np.ndarray) -> np.ndarray:
    """Returns tokens as int32, values as float32 `[N, L, C]`, and others as they are.

    Raises DataError for tokens and values that are out of range.
    """
    if array.dtype.kind == "f":
        return convert_floats(array if array.ndim == 3 else array[..., None])
    if array.ndim == 2:
        if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
            raise DataError(f"inputs: tokens are from {array.min()} to {array.max()}; must be from 0, and below 2^31")
        return array.astype(np.int32)
    return np.ascontiguousarray(array)


def convert_floats(array: np.ndarray) -> np.ndarray:
    """Returns values `[N, L, C]` as float32; raises DataError if one is not finite."""
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are reported below
        values = np.ascontiguousarray(array, np.float32)
    infinite = ~np.isfinite(values)
    if infinite.any():
        place = np.unravel_index(int(infinite.argmax()), values.shape)
        found = f"{array[place]} at [{', '.join(map(str, place))}], {infinite.sum():,} of {values.size:,} values"
        is_at_end = np.isnan(values[place[0], [0, -1]]).all(axis=-1).any()
        remedy = "; where NaN is padding, give lengths=" if is_at_end else ""
        raise DataError(f"inputs: {found}; must be finite in float32{remedy}")
    return values


def check_lengths(lengths: ArrayLike, count: int, longest: int) -> np.ndarray:
    """Returns lengths as int32 `[count]`; raises DataError unless they are integers from 1 to `longest`."""
    array = as_array(lengths, "lengths")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        is_mask = array.shape == (count, longest)
        remedy = "; of a mask that is true for elements write mask.sum(axis=1)" if is_mask else ""
        raise DataError(f"lengths: {array.dtype} {list(array.shape)}: must be integers [N], one per sequence{remedy}")
    if len(array) != count:
        raise DataError(f"lengths: there are {len(array):,} for {count:,} sequences; must be one per sequence")
    if array.min() < 1 or array.max() > longest:
        raise DataError(f"lengths: are from {array.min()} to {array.max()}; must be from 1 to {longest}")
    return array.astype(np.int32)


def is_arrays(dataset: str) -> bool:
    """Returns whether a name denotes arrays of a program."""
    return dataset.startswith((VALUES, TOKENS))
