"""How the property-based tests run: with the same examples each time, or with many more and other ones.

    AUX_RNN_EXAMPLES=20 pytest tests/config/test_settings_properties.py tests/datasets/test_catalogue.py

takes twenty times as many examples, drawn again each time; what fails is printed with the line that repeats it.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

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


@contextlib.contextmanager
def refused(error: type[Exception], *parts: str) -> Iterator[None]:
    """Asserts that the block raises the error, in one printable line that contains the parts."""
    with pytest.raises(error) as caught:
        yield
    assert_one_line(caught.value, *parts)


def damages() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """Returns what may happen to a file: a part is lost or replaced by other bytes, or there are some at the end."""
    places = st.floats(0, 1)
    strange = st.one_of(st.binary(max_size=20), st.sampled_from([b"9" * 20, b"-", b"\0", b'"', b"{", b"\n"]))
    return st.tuples(places, places, strange).map(replace)


def replace(change: tuple[float, float, bytes]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        start = int(change[0] * len(content))
        end = start + int(change[1] ** 4 * (len(content) - start))  # mostly a few bytes
        return content[:start] + change[2] + content[end:]

    return damage
