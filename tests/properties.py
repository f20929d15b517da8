"""How the property-based tests run: with the same examples each time, or with many more and other ones.

    AUX_RNN_EXAMPLES=20 pytest tests/config/test_settings_properties.py tests/datasets/test_catalogue.py

takes twenty times as many examples, drawn again each time; what fails is printed with the line that repeats it.
"""

import os
from collections.abc import Callable

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


def damages() -> st.SearchStrategy[Callable[[bytes], bytes]]:
    """What may happen to a file: nothing, flipped bits, a missing end, missing, strange or repeated bytes inside."""
    places = st.floats(0, 1, exclude_max=True)
    return st.one_of(
        st.just(lambda content: content),
        st.lists(st.tuples(places, st.integers(0, 7)), min_size=1, max_size=3).map(flip),
        places.map(lambda place: lambda content: content[: int(place * len(content))]),
        st.tuples(places, places, st.binary(max_size=20)).map(replace),
        st.tuples(places, st.sampled_from([b"0", b"9", b"-", b"9" * 20, b"\0", b'"', b"{", b"\n"])).map(insert),
        st.binary(max_size=40).map(lambda end: lambda content: content + end),
    )


def flip(bits: list[tuple[float, int]]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        for place, bit in bits:
            if changed:
                changed[int(place * len(changed))] ^= 1 << bit
        return bytes(changed)

    return damage


def replace(change: tuple[float, float, bytes]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        start = int(change[0] * len(content))
        end = start + int(change[1] * (len(content) - start))
        return content[:start] + change[2] + content[end:]

    return damage


def insert(change: tuple[float, bytes]) -> Callable[[bytes], bytes]:
    """Puts bytes in place of one."""

    def damage(content: bytes) -> bytes:
        place = int(change[0] * len(content))
        return content[:place] + change[1] + content[place + 1 :]

    return damage
