"""Defines the exit codes of the programs, which `modes/dispatch.py` chooses, and reports the reason in one line."""

import re
import sys
from collections.abc import Callable

from aux_rnn.config.serialization import iterate_settings
from aux_rnn.errors import OneLineError, to_one_line
from aux_rnn.system.signals import interrupt_on_signals

# 0 complete, 1 failed on the way, 2 nothing was done, 73 another run is using the folder, 75 ("try again") interrupted.
FAILED, BAD_INPUT, IN_USE, INTERRUPTED = 1, 2, 73, 75

# The name of a setting before its value, as `aux_rnn` writes it: any name at the start, later that of a known setting.
# Values in quotes belong to Python commands.
NAMES = "|".join(["extend", *(field.name for _, field in iterate_settings())])
SETTING = re.compile(rf"^(?=[a-z_]+=)|(?<=[\s(])(?=({NAMES})=[^'])")

OUTSIDE_OF_TRAINING = "interrupted outside of training; nothing was lost"


def report(error: Exception | str, code: int) -> int:
    """Writes the line to standard error, with settings as flags, and returns the code."""
    print(f"error: {to_one_line(SETTING.sub('--', str(error)))}", file=sys.stderr, flush=True)
    return code


def run(command: Callable[[], int]) -> int:
    """Runs the command of a program and returns its exit code; errors and signals end it with one line."""
    try:
        with interrupt_on_signals():
            return command()
    except OneLineError as error:
        return report(error, BAD_INPUT)
    except OSError as error:
        return report(error, FAILED)
    except KeyboardInterrupt:
        return report("interrupted", INTERRUPTED)
