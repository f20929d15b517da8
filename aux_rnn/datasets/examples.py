"""Labelled sequences in memory."""

import dataclasses
import functools
import hashlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Examples:
    """Holds labelled sequences in memory.

    Attributes:
      inputs: images uint8 [N, H, W, C], pixels uint8 [N, L, C], other values float32 [N, L, C], or tokens (for texts:
        bytes uint8) [N, L]; padded on the left with zeros.
      labels: int32 [N].
      lengths: int32 [N], the length of each sequence; None if they are not padded.
      ids: int64 [N], the place of each example in the stored split; None if it is not known.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray | None = None
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray | slice) -> "Examples":
        """Returns the examples of the given rows, without ids."""
        return Examples(**{name: values[rows] for name, values in self.arrays().items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays of a batch by name, without those that are None."""
        named = {"inputs": self.inputs, "labels": self.labels, "lengths": self.lengths}
        return {name: values for name, values in named.items() if values is not None}


def fingerprint(*parts: Examples) -> str:
    """Returns twelve hexadecimal digits of a hash of all examples."""
    digest = hashlib.sha256()
    for part in parts:
        for name, values in part.arrays().items():
            digest.update(f"{name} {values.dtype} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples to train on, those to choose settings on, and those to report results on."""

    train: Examples
    validation: Examples
    test: Examples

    def counts(self) -> dict[str, int]:
        """Returns the number of examples of each split."""
        return {field.name: len(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies the examples of all splits."""
        return fingerprint(self.train, self.validation, self.test)
