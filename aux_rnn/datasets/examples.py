"""Labelled sequences in memory."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Examples:
    """Labelled sequences in memory.

    Attributes:
      inputs: images uint8 [N, H, W, C], pixels uint8 [N, L, C], other values float32 [N, L, C], or tokens (for texts:
        bytes uint8) [N, L]; padded on the left with zeros.
      labels: int32 [N].
      lengths: int32 [N], each sequence's own length; None where nothing is padded.
      ids: int64 [N], each example's place in the stored split; None where they are not known.
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray | None = None
    ids: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that batches are made of by name, without those that there are not."""
        named = {"inputs": self.inputs, "labels": self.labels, "lengths": self.lengths}
        return {name: values for name, values in named.items() if values is not None}


@dataclasses.dataclass(frozen=True)
class Splits:
    """What to learn from, what to choose settings on, and what to report."""

    train: Examples
    validation: Examples
    test: Examples
