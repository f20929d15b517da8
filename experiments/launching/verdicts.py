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
    if BAD_INPUT in codes:
        return Verdict.FAILED
    are_all_known = len(codes) >= workers
    # 1 beside a worker that was killed, or of which nothing is known, is only the report of one that misses it.
    if FAILED in codes and are_all_known and all(code in (0, FAILED, INTERRUPTED) for code in codes):
        return Verdict.FAILED
    if status == "complete" or (are_all_known and not any(codes)):
        return Verdict.COMPLETE
    if are_all_known and all(code in (0, INTERRUPTED) for code in codes):
        return Verdict.INTERRUPTED
    return Verdict.LOST
