"""Orientation and padding of arrays of sequences, converted to channels last and zeros on the left."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from aux_rnn.config.fields import ConfigError
from aux_rnn.datasets.errors import DataError
from aux_rnn.errors import first_line

SIDES = ("left", "right")
MAX_COLORS = 4  # channels of an image


def as_array(values: Any, name: str) -> np.ndarray:
    """Returns what NumPy makes of values; raises DataError for what it cannot have, and for masked values."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O" and array.size and np.ndim(array.flat[0]) == 0:
            numbers = np.array(array.tolist())
            array = numbers if numbers.dtype.kind in "fiu" else array
    except Exception as error:  # NumPy, PyTorch and pandas raise many kinds of errors
        raise DataError(f"{name}: cannot be converted to a NumPy array ({first_line(error)})") from error
    if np.ma.is_masked(values):
        raise DataError(f"{name}: {np.ma.count_masked(values):,} values are masked; fill them, or give lengths=")
    return array


def move_channels_last(array: np.ndarray, channels_first: bool | None) -> np.ndarray:
    """Returns `[N, L, C]` or `[N, H, W, C]`; raises DataError if channels seem to come first and this is not given."""
    if array.ndim not in (3, 4):
        return array
    first, last = array.shape[1], array.shape[-1]
    looks_first = first <= MAX_COLORS < last if array.ndim == 4 else first < last
    if channels_first is None and looks_first:
        shape = "H, W" if array.ndim == 4 else "L"
        remedy = f"give channels_first=True, or channels_first=False if they are [N, {shape}, C]"
        found = f"inputs: {array.dtype} {list(array.shape)} look like [N, C, {shape}], with the channels first"
        raise DataError(f"{found}; {remedy}")
    return np.moveaxis(array, 1, -1) if channels_first else array


def sequence_shape(inputs: np.ndarray) -> tuple[int, int]:
    """Returns the length and the channels of sequences `[N, L]` or `[N, L, C]`, or of the pixels of images."""
    return (inputs.shape[1], 1) if inputs.ndim == 2 else (math.prod(inputs.shape[1:-1]), inputs.shape[-1])


def align_left(array: np.ndarray, lengths: np.ndarray, padding: str | None) -> tuple[np.ndarray, str]:
    """Moves the padding of sequences or images to the left and sets it to zero.

    The `padding` is 'left' or 'right'; None takes the only side that is filled with one value. Returns an array of the
    same shape and the side. Raises ConfigError for another side, and DataError if the padding seems to be on another
    side.
    """
    if padding not in (None, *SIDES):
        raise ConfigError(f"padding={padding!r}: must be 'left', 'right' or None")
    sequences = array.reshape(len(array), *sequence_shape(array))
    longest = sequences.shape[1]
    if lengths.min() == longest:
        return array, padding or "left"
    places, free = np.arange(longest), longest - lengths[:, None]
    masks = {"left": places < free, "right": places >= lengths[:, None]}
    filled = [side for side in SIDES if is_filled(sequences, masks[side], 0 if side == "left" else -1)]
    if padding is None and len(filled) != 1:
        found = "both ends look" if filled else "neither end looks"
        raise DataError(f"inputs: {found} like padding, going by the lengths; give padding='left' or padding='right'")
    side = padding or filled[0]
    if len(filled) == 1 and side != filled[0]:
        remedy = f"give padding='{filled[0]}', or fill the padding with zeros"
        raise DataError(f"inputs: are padded on the {filled[0]}, going by the lengths; {remedy}")
    if side == "right":
        sequences = np.take_along_axis(sequences, ((places - free) % longest)[..., None], axis=1)
    return np.where(masks["left"][..., None], sequences.dtype.type(0), sequences).reshape(array.shape), side


def is_filled(sequences: np.ndarray, mask: np.ndarray, end: int) -> bool:
    """Returns whether every sequence `[L, C]` repeats its element at the end 0 or -1 wherever the mask is true.

    If the mask selects at most one element of each, these must be zero, NaN, or the same in several sequences.
    """
    outer = sequences[:, [end]]
    equal = (sequences == outer) | (np.isnan(sequences) & np.isnan(outer))
    if not equal.all(axis=-1)[mask].all():
        return False
    counts = mask.sum(axis=1)
    single = outer[counts == 1]
    if counts.max() > 1 or not single.size:
        return True
    return bool(((single == 0) | np.isnan(single)).all()) or (len(single) > 1 and bool((single == single[0]).all()))


def stack_sequences(
    sequences: Sequence[Any], channels_first: bool | None, longest: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pads sequences `[L]` or `[L, C]`, or `[C, L]`, of unequal length with zeros on the left.

    Returns `[N, L]` or `[N, L, C]`, where L is `longest` or that of the longest, and the lengths, int32 `[N]`.
    """
    arrays = [as_array(each, "inputs") for each in sequences]
    if channels_first:
        arrays = [each.T for each in arrays]
    lengths, shapes = [len(each) if each.ndim else 0 for each in arrays], {each.shape[1:] for each in arrays}
    if len(shapes) > 1 or len(next(iter(shapes))) > 1 or not min(lengths):
        found = ", ".join(sorted({str(list(each.shape)) for each in arrays})[:3])
        remedy = "; channels_first=True takes [C, L]" if len(set(lengths)) == 1 and not channels_first else ""
        raise DataError(f"inputs: are of the shapes {found}; must be [L, C] or [L], and differ in L alone{remedy}")
    if longest is not None and max(lengths) > longest:
        raise DataError(f"inputs: have up to {max(lengths):,} elements; must have at most {longest:,}, as for training")
    padded = np.zeros((len(arrays), longest or max(lengths), *shapes.pop()), np.result_type(*arrays))
    for row, each in zip(padded, arrays, strict=True):
        row[len(row) - len(each) :] = each
    return padded, np.array(lengths, np.int32)
