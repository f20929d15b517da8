"""Silences messages of libraries about errors that this program reports itself, in one line."""

import contextlib
import logging as python_logging
import os
import sys
from collections.abc import Iterator

from absl import logging

# Every failure of these libraries reaches the program as an exception as well.
ABSL_PATH = "/orbax/"
LOGGERS = ("asyncio", "fsspec", "gcsfs", "s3fs")
LOOP_CLOSED = "Event loop is closed"


def quiet_libraries() -> None:
    """Keeps warnings and errors of this program and drops those of Orbax, its threads and the storage clients."""
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(lambda record: ABSL_PATH not in record.pathname)
    for name in LOGGERS:
        python_logging.getLogger(name).setLevel(python_logging.CRITICAL)
    report_unraisable = sys.unraisablehook

    def report(unraisable: "sys.UnraisableHookArgs") -> None:
        # Orbax closes its event loop before failing writes have ended; a request to stop that is raised in a callback
        # has been recorded already.
        is_known = isinstance(unraisable.exc_value, KeyboardInterrupt) or str(unraisable.exc_value) == LOOP_CLOSED
        if not is_known:
            report_unraisable(unraisable)

    sys.unraisablehook = report


@contextlib.contextmanager
def stdout_for_results_only() -> Iterator[None]:
    """Redirects what C libraries write to standard output to standard error, so that only results are left there.

    Gloo, which JAX uses, prints its connections. Does nothing if `sys.stdout` is not file descriptor 1, as in a test.
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
        # Line by line; characters that the encoding lacks are escaped, because a folder may have any name.
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
