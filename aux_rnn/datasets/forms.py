"""The forms in which sequences are stored, and the arrays of one shape that are made from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import DataConfig


@dataclasses.dataclass(frozen=True)
class StoredForm:
    """Describes how each sequence of a data set is stored; by itself, sequences (L, C) that are read as they are.

    Attributes:
      stored_shape: shape of a stored sequence, with None where it varies.
      dtype: type of the values.
      vocabulary_size: number of tokens, or 0 for values.
      size_setting: the setting that changes the size of the sequences.
    """

    stored_shape: tuple[Any, ...]
    dtype: DTypeLike = np.float32
    vocabulary_size: int = 0
    size_setting: ClassVar[str] = ""

    def shape(self, config: DataConfig) -> tuple[int, ...]:
        """Returns the shape of a sequence in memory; raises ConfigError for a size that the form cannot have."""
        fixed = f"the sequences of {config.dataset} have a fixed length; for images see image_size"
        reasons = {"image_size": f"{config.dataset} has no images", "sequence_length": fixed}
        for name, reason in reasons.items():
            if name != self.size_setting and getattr(config, name):
                raise setting_error(name, getattr(config, name), f"0 ({reason})")
        return self.stored_shape

    def arrange(self, stored: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the sequences `[N, *shape]` and, if they are padded, the length of each, int32 `[N]`."""
        return np.stack(stored), None


@dataclasses.dataclass(frozen=True)
class Images(StoredForm):
    """Images uint8 (H, W, C), read pixel by pixel; `image_size` crops and shrinks them to a square."""

    dtype: DTypeLike = np.uint8
    size_setting = "image_size"

    def shape(self, config: DataConfig) -> tuple[int, ...]:
        (height, width, channels), side = super().shape(config), config.image_size
        if height is None or width is None:
            if side == 0:
                raise setting_error("image_size", 0, f"above 0, because the images of {config.dataset} differ in size")
        elif side > min(height, width):
            shorter = f"{min(height, width)}, the shorter side of the images of {config.dataset}"
            raise setting_error("image_size", side, f"at most {shorter} (0 keeps their size)")
        return (side, side, channels) if side else self.stored_shape

    def arrange(self, stored: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, None]:
        if shape == self.stored_shape:
            return np.stack(stored), None
        if None in self.stored_shape:
            return np.concatenate([crop_and_shrink(image[None], shape[0]) for image in stored]), None
        return crop_and_shrink(np.stack(stored), shape[0]), None


@dataclasses.dataclass(frozen=True)
class Texts(StoredForm):
    """Texts as bytes, of which the first `sequence_length` are read; shorter ones are padded with zeros on the left.

    The `longest` is the number of bytes of the longest stored text.
    """

    stored_shape: tuple[Any, ...] = (None,)
    dtype: DTypeLike = np.uint8
    vocabulary_size: int = 256
    longest: int = dataclasses.field(kw_only=True)
    size_setting = "sequence_length"

    def shape(self, config: DataConfig) -> tuple[int, ...]:
        super().shape(config)
        if config.sequence_length > self.longest:
            longest = f"{self.longest:,}, the bytes of the longest text of {config.dataset}"
            raise setting_error("sequence_length", config.sequence_length, f"at most {longest} (0 takes all)")
        return (config.sequence_length or self.longest,)

    def arrange(self, stored: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        padded = np.zeros((len(stored), *shape), np.uint8)
        for row, text in zip(padded, stored, strict=True):
            start = max(0, len(row) - len(text))
            row[start:] = text[: len(row)]
        return padded, np.array([min(len(text), shape[0]) for text in stored], np.int32)


def crop_and_shrink(images: np.ndarray, side: int) -> np.ndarray:
    """Shrinks the largest square in the middle of images uint8 `[N, H, W, C]` to `[N, side, side, C]`.

    Each new pixel is the mean of the area that it covers; halves are rounded up. The side need not divide H or W.
    """
    old = min(images.shape[1:3])
    top, left = ((size - old) // 2 for size in images.shape[1:3])
    square = images[:, top : top + old, left : left + old]
    if old == side:
        return square
    # In units of 1 / side of an old pixel all borders are whole, and sums of integers below 2^53 are exact in float64:
    # the result does not depend on the order of additions, and matrix products of floats are fast.
    starts, pixel_starts = np.arange(side)[:, None] * old, np.arange(old) * side
    overlaps = np.minimum(starts + old, pixel_starts + side) - np.maximum(starts, pixel_starts)
    weights = np.maximum(overlaps, 0).astype(np.float64)  # [side, old]; each row sums to `old`
    sums = np.einsum("ph,nhwc,qw->npqc", weights, square.astype(np.float64), weights, optimize=True)
    return np.floor((2 * sums + old**2) / (2 * old**2)).astype(np.uint8)
