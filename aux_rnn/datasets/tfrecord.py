"""Reading a split that tfds has stored as TFRecord, by row and without TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds


class TFRecords:
    """Reads the examples of a split by row, as the data sources of tfds do for array_record.

    Args:
      files: of the split, in order.
      features: of tfds, which decode a record.
      count: number of examples that the split must have.

    Raises:
      OSError: a file cannot be read.
      ValueError: a file is not a TFRecord, or there are more or fewer examples.
    """

    def __init__(self, files: Sequence[Path], features: tfds.features.FeaturesDict, count: int) -> None:
        # Here and not above: grain takes a second to import.
        from grain.experimental import TFRecordIterDataset

        self._features = features
        self._readers = [iter(TFRecordIterDataset(str(file))) for file in files]
        self._positions: list[tuple[int, dict[str, Any]]] = []  # the reader, and its state before the record
        for number, reader in enumerate(self._readers):
            state = reader.get_state()
            for _ in reader:
                self._positions.append((number, state))
                state = reader.get_state()
        if len(self) != count:
            raise ValueError(f"{len(self):,} examples in place of {count:,}")

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, rows: Sequence[int]) -> list[Mapping[str, Any]]:
        return [self._features.deserialize_example_np(self._read(row)) for row in rows]

    def _read(self, row: int) -> bytes:
        number, state = self._positions[row]
        self._readers[number].set_state(state)
        return next(self._readers[number])
