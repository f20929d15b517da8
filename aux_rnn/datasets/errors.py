"""The exception for data that is missing or damaged."""

import contextlib
import os
from collections.abc import Iterator

from aux_rnn.errors import OneLineError, first_line


class DataError(OneLineError, ValueError):
    """Raised if data is missing, damaged or cannot be stored. The text names it and the remedy in one line.

    Examples:
      >>> from aux_rnn import fit
      >>> fit([[[0.1], [0.2]], [[0.3], [float("inf")]]], [0, 1])
      Traceback (most recent call last):
      aux_rnn.datasets.errors.DataError: inputs: inf at [1, 1, 0], 1 of 4 values; must be finite in float32
    """


@contextlib.contextmanager
def reading(path: str | os.PathLike[str] | None, remedy: str = "") -> Iterator[None]:
    """Turns any error into a DataError that names what is read, because libraries raise many kinds of errors."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})" + f"; {remedy}" * bool(remedy)) from error
