"""What `--mode=prepare` prints."""

import textwrap

from aux_rnn.datasets import DataDescription
from aux_rnn.errors import to_one_line

WIDTH, INDENT = 80, 12


def format_description(found: DataDescription) -> str:
    """A few lines of at most 80 columns, apart from a folder or a class with a longer name."""
    spec, sizes = found.spec, found.sizes
    test = "" if found.test_split == "test" else f" (its {found.test_split} split)"
    rows = [("data set", found.dataset), ("folder", str(found.folder))]
    if found.text_lengths is None:
        channels = "1 channel" if spec.channels == 1 else f"{spec.channels} channels"
        rows += [("sequences", f"{spec.length:,} steps x {channels}")]
    else:
        shortest, median, longest = found.text_lengths
        rows += [("sequences", f"at most {spec.length:,} steps, each one of {spec.vocabulary_size} bytes")]
        rows += [("texts", f"{shortest:,} to {longest:,} bytes long, median {median:,}")]
    rows += [
        ("examples", f"{sizes.train:,} train, {sizes.validation:,} validation, {sizes.test:,} test{test}"),
        ("classes", str(spec.num_classes)),
        *describe_classes(found),
        ("data", found.origin),
        ("time", f"{found.seconds:.1f} s, {'prepared before' if found.was_prepared else 'prepared now'}"),
    ]
    return "\n".join(format_row(name, value) for name, value in rows)


def describe_classes(found: DataDescription) -> list[tuple[str, str]]:
    """How many examples the smallest and the largest class have."""
    unit = "training and validation examples"
    if found.smallest[1] == found.largest[1]:
        return [("each", f"{found.smallest[1]:,} {unit}")]
    smallest, largest = (f"{name}, {count:,}" for name, count in (found.smallest, found.largest))
    return [("smallest", f"{smallest} {unit}"), ("largest", largest)]


def format_row(name: str, value: str) -> str:
    lines = textwrap.wrap(to_one_line(value), WIDTH - INDENT, break_long_words=False, break_on_hyphens=False)
    return f"{name:<{INDENT}}" + ("\n" + " " * INDENT).join(lines)
