"""From stored records to the arrays that batches are cut from: square images of one size, padded texts."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from aux_rnn.datasets.shrinking import crop_square, shrink_images


class Reader(Protocol):
    """Turns stored sequences into arrays of one shape.

    Attributes:
      input_name: what the sequence is called in a record.
      label_name: what the label is called.
      shape: of one sequence in memory.
      has_lengths: whether sequences are padded.
      examples_at_once: how many stored sequences may be in memory together.
    """

    @property
    def input_name(self) -> str: ...

    @property
    def label_name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def has_lengths(self) -> bool: ...

    @property
    def examples_at_once(self) -> int: ...

    def arrange(self, stored: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """uint8 [N, *shape] and, where sequences are padded, their lengths int32 [N]."""


@dataclasses.dataclass(frozen=True)
class ImageReader:
    """Images as they are stored, or, where `shape` is another, the middle square shrunk to its side."""

    shape: tuple[int, int, int]
    stored_shape: tuple[int | None, ...]
    input_name: str = "image"
    label_name: str = "label"
    has_lengths: bool = False

    @property
    def examples_at_once(self) -> int:
        return 16 if None in self.stored_shape else 1_000

    def arrange(self, stored: Sequence[np.ndarray]) -> tuple[np.ndarray, None]:
        if self.shape == self.stored_shape:
            return np.stack(stored), None
        side = self.shape[0]
        if None in self.stored_shape:
            return np.concatenate([shrink_images(crop_square(image[None]), side) for image in stored]), None
        return shrink_images(crop_square(np.stack(stored)), side), None


@dataclasses.dataclass(frozen=True)
class TextReader:
    """The beginning of each text, padded on the left with zeros, so that all end together."""

    length: int
    input_name: str = "text"
    label_name: str = "label"
    has_lengths: bool = True
    examples_at_once: int = 10_000

    @property
    def shape(self) -> tuple[int]:
        return (self.length,)

    def arrange(self, stored: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.array([min(len(text), self.length) for text in stored], np.int32)
        padded = np.zeros((len(stored), self.length), np.uint8)
        for row, text, length in zip(padded, stored, lengths, strict=True):
            row[self.length - length :] = text[:length]
        return padded, lengths
