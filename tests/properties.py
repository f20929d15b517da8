"""How the property-based tests run: with the same examples each time, or with many more and other ones.

    AUX_RNN_EXAMPLES=20 pytest tests/test_hypothesis_settings.py tests/test_hypothesis_data.py

takes twenty times as many examples, drawn anew each time; what fails is printed with the line that repeats it.
"""

import os
from collections.abc import Callable

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("AUX_RNN_EXAMPLES", "1"))

# The longest line that an error may have.
LONGEST = 2_000


def examples(count: int) -> Callable[[Callable], Callable]:
    """A decorator: so many examples of a property, without a limit of time."""
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )


def assert_one_line(error: Exception | str, *parts: str) -> None:
    """The text is one printable line of bounded length that contains the parts."""
    text = str(error)
    assert text.isprintable(), ascii(text)
    assert 0 < len(text) <= LONGEST, len(text)
    for part in parts:
        assert part in text, ascii(text)
