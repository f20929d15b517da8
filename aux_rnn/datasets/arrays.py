"""Checks of arrays that a program has in memory, and their conversion to examples."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets.alignment import align_left, as_array, move_channels_last, stack_sequences
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
        """Reads arrays as those of `read_arrays` were read; raises DataError for arrays of another form."""
        read = self._read_sequences(inputs, lengths, name)
        indices, _ = encode_labels(labels, len(read.inputs), f"{name}labels", np.array(self.classes))
        return self.check(Examples(read.inputs, indices, read.lengths), name)

    def read_unlabeled(self, inputs: ArrayLike, lengths: ArrayLike | None = None) -> Examples:
        """Reads arrays without labels, which become 0; raises DataError for arrays of another form."""
        read = self._read_sequences(inputs, lengths)
        return self.check(Examples(read.inputs, np.zeros(len(read.inputs), np.int32), read.lengths))

    def _read_sequences(self, inputs: ArrayLike, lengths: ArrayLike | None, name: str = "") -> "Sequences":
        longest = self.spec.length if self.is_padded else None
        return read_sequences(inputs, lengths, self.padding, self.channels_first, longest, name)

    def check(self, examples: Examples, name: str = "") -> Examples:
        """Returns the examples, or raises DataError if they have another form; `name` is a prefix in messages."""
        spec, inputs = self.spec, examples.inputs
        channels = 1 if inputs.ndim == 2 else inputs.shape[-1]
        found, expected = (count_elements(inputs), channels, inputs.dtype), (spec.length, spec.channels, self.dtype)
        is_text = inputs.ndim == 2
        if is_text != bool(spec.vocabulary_size) or found[: 2 if is_text else 3] != expected[: 2 if is_text else 3]:
            shown, allowed = (f"{length} x {values} of {dtype}" for length, values, dtype in (found, expected))
            raise DataError(f"{name}inputs: are sequences of {shown}; must be of {allowed}, as for training")
        if (examples.lengths is not None) != self.is_padded:
            raise DataError(f"{name}lengths: must be given if and only if they were for training")
        if spec.vocabulary_size and inputs.max() >= spec.vocabulary_size:
            allowed = f"from 0 to {spec.vocabulary_size - 1} (see vocabulary_size)"
            raise DataError(f"{name}inputs: the largest token is {inputs.max()}; must be {allowed}")
        return examples


class Sequences(NamedTuple):
    """Sequences as `Examples` holds them, and how they were written: see `Form`."""

    inputs: np.ndarray
    lengths: np.ndarray | None
    padding: str
    channels_first: bool


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

    Returns:
      The examples, padded with zeros on the left, and their form.

    Raises:
      ConfigError: `padding` is not a side.
      DataError: an array has another shape or type, or values that are not allowed.
    """
    read = read_sequences(inputs, lengths, padding, channels_first)
    known = None if num_classes is None else np.arange(num_classes)
    indices, classes = encode_labels(labels, len(read.inputs), "labels", known)
    examples = Examples(read.inputs, indices, read.lengths)
    is_text = read.inputs.ndim == 2
    channels = 1 if is_text else read.inputs.shape[-1]
    tokens = (vocabulary_size or int(read.inputs.max()) + 1) if is_text else 0
    spec = SequenceSpec(count_elements(read.inputs), channels, len(classes), tokens)
    is_padded, names = read.lengths is not None, tuple(classes.tolist())
    form = Form(spec, read.inputs.dtype, is_padded, names, read.padding, read.channels_first)
    return form.check(examples), form


def read_sequences(
    inputs: Any,
    lengths: ArrayLike | None,
    padding: str | None = None,
    channels_first: bool | None = None,
    longest: int | None = None,
    name: str = "",
) -> Sequences:
    """Reads inputs and lengths; for the arguments and errors see `read_arrays`.

    If `longest` is given, every list of sequences is padded to it; if not, those of unequal length, to the longest. In
    messages `name` is a prefix of 'inputs' and 'lengths', such as 'test '.
    """
    if is_list(inputs) and (longest or is_ragged(inputs)) and lengths is None:
        array, own = stack_sequences(inputs, channels_first, longest, f"{name}inputs")
        return Sequences(check_inputs(array, f"{name}inputs"), own, padding or "left", bool(channels_first))
    array, is_first = move_channels_last(as_array(inputs, f"{name}inputs"), channels_first, f"{name}inputs")
    if lengths is None:
        return Sequences(check_inputs(array, f"{name}inputs"), None, padding or "left", is_first)
    check_kind(array, f"{name}inputs")
    flat = array.reshape(len(array), count_elements(array), *array.shape[-1:] * (array.ndim > 2))
    own = check_lengths(lengths, len(flat), flat.shape[1], f"{name}lengths")
    aligned, side = align_left(flat, own, padding, f"{name}inputs")
    return Sequences(check_inputs(aligned.reshape(array.shape), f"{name}inputs"), own, side, is_first)


def is_list(inputs: Any) -> bool:
    """Returns whether inputs are a list of sequences: a list or tuple, or an array or series of objects."""
    is_object = getattr(getattr(inputs, "dtype", None), "kind", "") == "O"
    return isinstance(inputs, list | tuple) or (is_object and np.ndim(inputs) > 0)


def is_ragged(sequences: Sequence[Any]) -> bool:
    """Returns whether sequences differ in shape."""
    return len({as_array(each, "inputs").shape for each in sequences}) > 1


def check_inputs(array: np.ndarray, name: str) -> np.ndarray:
    """Returns the inputs of `read_arrays`, with channels, as uint8, float32 or int32."""
    check_kind(array, name)
    if array.dtype.kind == "f":
        return check_finite(array if array.ndim == 3 else array[..., None], name)
    if array.ndim == 2:
        if array.min() < 0 or array.max() > np.iinfo(np.int32).max:
            raise DataError(f"{name}: tokens are from {array.min()} to {array.max()}; must be from 0, and below 2^31")
        return array.astype(np.int32)
    return np.ascontiguousarray(array)


def check_kind(array: np.ndarray, name: str) -> None:
    """Raises DataError unless an array has the shape and the type of inputs."""
    found = f"{name}: {array.dtype} {list(array.shape)}"
    if 0 in array.shape:
        raise DataError(f"{found} is empty; must be {FORMS}")
    kinds = {2: "fiu", 3: "f"}.get(array.ndim, "")
    if array.dtype.kind not in kinds and not (array.ndim in (3, 4) and array.dtype == np.uint8):
        raise DataError(f"{found}: must be {FORMS}")


def check_finite(array: np.ndarray, name: str) -> np.ndarray:
    """Returns values as float32; raises DataError if one is not finite."""
    with np.errstate(over="ignore"):  # what float32 does not hold becomes infinite, which is reported
        values = np.ascontiguousarray(array, np.float32)
    strange = ~np.isfinite(values)
    if strange.any():
        place = np.unravel_index(int(strange.argmax()), values.shape)
        where = ", ".join(map(str, place))
        count = f"{strange.sum():,} of {values.size:,} values"
        is_at_end = np.isnan(values[place[0], [0, -1]]).all(axis=-1).any()
        remedy = "; where NaN is padding, give lengths=" if is_at_end else ""
        raise DataError(f"{name}: {array[place]} at [{where}], {count}; must be finite in float32{remedy}")
    return values


def check_lengths(lengths: ArrayLike, count: int, longest: int, name: str) -> np.ndarray:
    """Returns lengths as int32 `[count]`; raises DataError unless they are integers from 1 to `longest`."""
    array = as_array(lengths, name)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        is_mask = array.shape == (count, longest)
        remedy = "; of a mask that is true for elements write mask.sum(axis=1)" if is_mask else ""
        raise DataError(f"{name}: {array.dtype} {list(array.shape)}: must be integers [N], one per sequence{remedy}")
    if len(array) != count:
        raise DataError(f"{name}: there are {len(array):,} for {count:,} sequences; must be one per sequence")
    if array.min() < 1 or array.max() > longest:
        raise DataError(f"{name}: are from {array.min()} to {array.max()}; must be from 1 to {longest}")
    return array.astype(np.int32)


def count_elements(inputs: np.ndarray) -> int:
    """Returns the length `L` of sequences, or of images that are read pixel by pixel."""
    return int(np.prod(inputs.shape[1:-1])) if inputs.ndim > 2 else inputs.shape[1]


def is_arrays(dataset: str) -> bool:
    """Returns whether a name denotes arrays of a program."""
    return dataset.startswith((VALUES, TOKENS))
