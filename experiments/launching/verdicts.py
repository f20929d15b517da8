"""What became of a run on a slice, by what its workers say and by what it left in the bucket."""

import enum
from collections.abc import Sequence

from exits import BAD_INPUT, FAILED, INTERRUPTED


class Verdict(enum.Enum):
    """What became of an attempt."""

    COMPLETE = enum.auto()
    FAILED = enum.auto()  # by main.py's own account
    INTERRUPTED = enum.auto()  # all workers have saved and left, as they do when the slice is taken away
    LOST = enum.auto()  # of some worker nothing is known


def judge(codes: Sequence[int], workers: int, status: str) -> Verdict:
    """What became of an attempt.

    Args:
      codes: main.py's exit codes on the workers that told theirs.
      workers: how many there are.
      status: in the run's summary.
    """
    have_all_left = len(codes) >= workers and all(code in (0, FAILED, BAD_INPUT, INTERRUPTED) for code in codes)
    # Beside a worker that was killed, or of which nothing is known, a failure is only the report of one that misses it.
    if have_all_left and (FAILED in codes or BAD_INPUT in codes):
        return Verdict.FAILED
    if status == "complete" or (have_all_left and not any(codes)):
        return Verdict.COMPLETE
    return Verdict.INTERRUPTED if have_all_left else Verdict.LOST
