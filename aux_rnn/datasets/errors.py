"""The one exception for data that cannot be had or cannot be trusted."""

from aux_rnn.errors import OneLineError


class DataError(OneLineError):
    """Data is missing, damaged or cannot be stored. The text says what, where and what to do about it, in one line."""
