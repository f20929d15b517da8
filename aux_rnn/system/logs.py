"""Filters of what absl and the libraries that use it log."""

import contextlib
import logging as python_logging
from collections.abc import Callable, Iterator

from absl import logging


@contextlib.contextmanager
def filtered_log(keep: Callable[[python_logging.LogRecord], bool]) -> Iterator[None]:
    """Passes only those records of absl's logger for which `keep` is true; `keep` may change a record."""
    logger = logging.get_absl_logger()
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
