"""What a person sees of several processes at once, and the last lines of each, which say why it ended."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator

KEPT_LINES = 200
SHOWN_LINES = 10  # of a process that named no error
LONGEST_LINE = 65536  # bytes; a progress bar never ends its line


def read_chunks(descriptor: int) -> Iterator[bytes]:
    """What comes from a pipe or a pseudo-terminal, until all writers are gone."""
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # how a pseudo-terminal ends
            return
        if not chunk:
            return
        yield chunk


class Tail:
    """The last lines of a stream, as they would stand on a screen."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._rest = b""

    def feed(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        self._lines.extend(map(as_shown, lines))

    def last_words(self) -> list[str]:
        """From the last error on, or else the last lines."""
        lines = [line for line in (*self._lines, as_shown(self._rest)) if line]
        errors = [number for number, line in enumerate(lines) if line.startswith("error:")]
        return lines[errors[-1] :][:SHOWN_LINES] if errors else lines[-SHOWN_LINES:]


def as_shown(line: bytes) -> str:
    """What is left to see of a line after its carriage returns."""
    return line.decode(errors="replace").rstrip("\r ").rpartition("\r")[2].rstrip()


class Screen:
    """Standard error, shared by threads.

    Attributes:
      is_terminal: whether it is one.
      last_writer: the process, by its index, whose output came last.
    """

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()
        self.last_writer = -1
        self._lock = threading.Lock()

    def write(self, data: bytes, writer: int = -1) -> None:
        with self._lock:
            self.last_writer = writer
            try:
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()
            except (OSError, ValueError):  # nobody looks any more: the processes go on
                pass

    def write_line(self, line: bytes, writer: int = -1) -> None:
        """Writes a line of its own, in place of a progress bar on a terminal."""
        self.write((b"\r\x1b[K" if self.is_terminal else b"") + line + b"\n", writer)

    def show_stream(self, descriptor: int, writer: int, tail: Tail) -> None:
        """Shows a stream as it comes, progress bars included, until it ends."""
        for chunk in read_chunks(descriptor):
            tail.feed(chunk)
            self.write(chunk, writer)

    def show_lines(self, descriptor: int, writer: int, tail: Tail) -> None:
        """Shows a stream line by line, those of all but process 0 behind its index, until it ends."""
        prefix = b"[%d] " % writer if writer else b""

        def show(line: bytes) -> None:
            tail.feed(line + b"\n")
            self.write_line(prefix + line, writer)

        for_each_line(descriptor, show)


def for_each_line(descriptor: int, use: Callable[[bytes], None]) -> None:
    """Calls `use` with every line of a stream, without its end; the last one need not be complete."""
    rest = b""
    for chunk in read_chunks(descriptor):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            use(line)
    if rest:
        use(rest)
