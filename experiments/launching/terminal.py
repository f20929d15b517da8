"""A pseudo-terminal that stands for the real one, so that a program's output can be read along."""

import fcntl
import os
import pty
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from aux_rnn.interruption import handlers


@contextmanager
def stand_in_terminal() -> Iterator[tuple[int, int]]:
    """Opens a pseudo-terminal of the size of the one that standard error is, which follows it.

    Yields:
      The descriptors of our end, to read from, and of the program's. The caller closes the latter.
    """
    ours, theirs = pty.openpty()

    def copy_size(*unused: object) -> None:
        with suppress(OSError):  # when the real one is gone
            fcntl.ioctl(ours, termios.TIOCSWINSZ, fcntl.ioctl(sys.stderr, termios.TIOCGWINSZ, b"\0" * 8))

    copy_size()
    modes = termios.tcgetattr(theirs)
    modes[1] &= ~termios.OPOST  # the real one ends the lines in its own way
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    try:
        with handlers(copy_size, [signal.SIGWINCH]):
            yield ours, theirs
    finally:
        os.close(ours)
