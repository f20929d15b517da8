"""Defines the exit codes of the programs and reports the reason in one line."""

import sys

from aux_rnn.errors import to_one_line

# 0 complete, 1 failed on the way, 2 nothing was done, 73 another run is using the folder, 75 ("try again") interrupted.
FAILED, BAD_INPUT, IN_USE, INTERRUPTED = 1, 2, 73, 75

OUTSIDE_OF_TRAINING = "interrupted outside of training; nothing was lost"


def report(error: Exception | str, code: int) -> int:
    """Writes the line to standard error and returns the code."""
    print(f"error: {to_one_line(str(error))}", file=sys.stderr, flush=True)
    return code
