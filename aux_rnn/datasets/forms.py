"""The forms in which sequences are stored, and the arrays of one shape that are made from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from aux_rnn.config.fields import reject
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.shrinking import crop_square, shrink_images


@dataclasses.dataclass(frozen=True)
class StoredForm:
    """Describes how each sequence of a data set is stored; by itself, sequences that are read as they are.

    Attributes:
      stored_shape: shape of a stored sequence, with None where it varies.
      dtype: type of the values.
      vocabulary_size: number of tokens, or 0 for values.
      input_name: name of the sequence in a stored record.
      size_setting: the setting that changes the size of the sequences.
    """

    stored_shape: tuple[Any, ...]
    dtype: DTypeLike = np.uint8
    vocabulary_size: int = 0
    input_name: ClassVar[str] = "values"
    size_setting: ClassVar[str] = ""

    def shape(self, config: DataConfig) -> tuple[int, ...]:
        """Returns the shape of a sequence in memory; raises ConfigError for a size that the form cannot have."""
        return self.stored_shape

    def check(self, config: DataConfig) -> None:
        """Raises ConfigError for a size that is set and does not apply to the form."""
        fixed = f"the sequences of {config.dataset} have a fixed length; for images see --image_size"
        reasons = {"image_size": f"{config.dataset} has no images", "sequence_length": fixed}
        for name, reason in reasons.items():
            if name != self.size_setting and getattr(config, name):
                raise reject(name, getattr(config, name), f"0 ({reason})")

    def arrange(self, stored: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the sequences `[N, *shape]` and, if they are padded, the length of each, int32 `[N]`."""
        return np.stack(stored), None


@dataclasses.dataclass(frozen=True)
class Values(StoredForm):
    """Sequences (L, C) of real values."""

    dtype: DTypeLike = np.float32


@dataclasses.dataclass(frozen=True)
class Images(StoredForm):
    """Images uint8 (H, W, C), read pixel by pixel; `image_size` crops and shrinks them to a square."""

    input_name = "image"
    size_setting = "image_size"

    def shape(self, config: DataConfig) -> tuple[int, ...]:
        (height, width, channels), side = self.stored_shape, config.image_size
        if height is None or width is None:
            if side == 0:
                raise reject("image_size", 0, f"above 0, because the images of {config.dataset} differ in size")
        elif side > min(height, width):
            shorter = f"{min(height, width)}, the shorter side of the images of {config.dataset}"
            raise reject("image_size", side, f"at most {shorter} (0 keeps their size)")
        return (side, side, channels) if side else self.stored_shape

    def arrange(self, stored: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, None]:
        if shape == self.stored_shape:
            return np.stack(stored), None
        if None in self.stored_shape:
            return np.concatenate([shrink_images(crop_square(image[None]), shape[0]) for image in stored]), None
        return shrink_images(crop_square(np.stack(stored)), shape[0]), None


@dataclasses.dataclass(frozen=True)
class Texts(StoredForm):
    """Texts as bytes, of which the first `sequence_length` are read; shorter ones are padded with zeros on the left.

    The `longest` is the number of bytes of the longest stored text.
    """

    input_name = "text"
    size_setting = "sequence_length"

    stored_shape: tuple[Any, ...] = (None,)
    vocabulary_size: int = 256
    longest: int = dataclasses.field(kw_only=True)

    def shape(self, config: DataConfig) -> tuple[int]:
        if config.sequence_length > self.longest:
            longest = f"{self.longest:,}, the bytes of the longest text of {config.dataset}"
            raise reject("sequence_length", config.sequence_length, f"at most {longest} (0 takes all)")
        return (config.sequence_length or self.longest,)

    def arrange(self, stored: Sequence[np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        padded = np.zeros((len(stored), *shape), np.uint8)
        for row, text in zip(padded, stored, strict=True):
            start = max(0, len(row) - len(text))
            row[start:] = text[: len(row)]
        return padded, np.array([min(len(text), shape[0]) for text in stored], np.int32)
