"""The exception for data that is missing or damaged."""

from aux_rnn.errors import OneLineError


class DataError(OneLineError, ValueError):
    """Raised if data is missing, damaged or cannot be stored. The text names it and the remedy in one line.

    Examples:
      >>> from aux_rnn import fit
      >>> fit([[[0.1], [0.2]], [[0.3], [float("inf")]]], [0, 1])
      Traceback (most recent call last):
      aux_rnn.datasets.errors.DataError: inputs: inf at [1, 1, 0], 1 of 4 values; must be finite in float32
    """
