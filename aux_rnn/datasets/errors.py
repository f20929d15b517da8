"""The one exception for data that cannot be had or cannot be trusted."""

from aux_rnn.errors import OneLineError


class DataError(OneLineError):
    """Data is missing, damaged or cannot be stored. The text says what, where and what to do about it, in one line.

    Examples:
      >>> from aux_rnn import fit
      >>> fit([[[0.1], [0.2]], [[0.3], [float("nan")]]], [0, 1])
      Traceback (most recent call last):
      aux_rnn.datasets.errors.DataError: inputs: nan at [1, 1, 0], 1 of 4 values; must be finite in float32
    """
