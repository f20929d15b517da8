"""Keeping what libraries say of their own insides off the terminal: what goes wrong is reported once, in one line."""

import contextlib
import logging as python_logging
import os
import sys
from collections.abc import Iterator

from absl import logging

SPEAKS_FOR_ITSELF = "/orbax/"  # every failure of Orbax reaches the program as an exception, too
SPEAK_BY_EXCEPTIONS = ("asyncio", "fsspec", "gcsfs", "s3fs")
LOOP_CLOSED = "Event loop is closed"


def quiet_libraries() -> None:
    """Warnings and errors of this program stay; those that Orbax's threads leave behind go."""
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(lambda record: SPEAKS_FOR_ITSELF not in record.pathname)
    for name in SPEAK_BY_EXCEPTIONS:
        python_logging.getLogger(name).setLevel(python_logging.CRITICAL)
    report_unraisable = sys.unraisablehook

    def report(unraisable: "sys.UnraisableHookArgs") -> None:
        # Orbax closes its event loop while writes that fail are still on their way; a request to stop that comes up in
        # a callback has been noted.
        is_known = isinstance(unraisable.exc_value, KeyboardInterrupt) or str(unraisable.exc_value) == LOOP_CLOSED
        if not is_known:
            report_unraisable(unraisable)

    sys.unraisablehook = report


@contextlib.contextmanager
def results_alone() -> Iterator[None]:
    """Keeps standard output for what this program prints: what C libraries write there goes to standard error.

    Gloo says there which processes it has connected, from inside JAX. Does nothing where Python's standard output is
    not the process's own, as in a test.
    """
    try:
        is_own = sys.stdout.fileno() == 1
    except (OSError, ValueError):
        is_own = False
    if not is_own:
        yield
        return
    sys.stdout.flush()
    kept, python_stdout = os.dup(1), sys.stdout
    try:
        # Line by line, and what the encoding lacks in ASCII, as a folder may have any name.
        encoding = python_stdout.encoding
        sys.stdout = os.fdopen(kept, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)
        os.dup2(2, 1)
        yield
    finally:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        sys.stdout = python_stdout
        os.dup2(kept, 1)
        os.close(kept)
