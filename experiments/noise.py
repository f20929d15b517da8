"""Keeping what libraries say of their own insides off the terminal: what goes wrong is reported once, in one line."""

import logging as python_logging
import sys

from absl import logging

SPEAKS_FOR_ITSELF = "/orbax/"  # every failure of Orbax reaches the program as an exception, too
LOOP_CLOSED = "Event loop is closed"


def quiet_libraries() -> None:
    """Warnings and errors of this program stay; those that Orbax's threads leave behind go."""
    logging.set_verbosity(logging.WARNING)
    logging.get_absl_handler().addFilter(lambda record: SPEAKS_FOR_ITSELF not in record.pathname)
    python_logging.getLogger("asyncio").setLevel(python_logging.CRITICAL)
    report_unraisable = sys.unraisablehook

    def report(unraisable: "sys.UnraisableHookArgs") -> None:
        # Orbax closes its event loop while writes that fail are still on their way; a request to stop that comes up in
        # a callback has been noted.
        is_known = isinstance(unraisable.exc_value, KeyboardInterrupt) or str(unraisable.exc_value) == LOOP_CLOSED
        if not is_known:
            report_unraisable(unraisable)

    sys.unraisablehook = report
