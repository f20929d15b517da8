"""Tables, and lists of names and values, for terminals of 80 columns and for Markdown."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from aux_rnn.errors import to_one_line

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 80


def format_table(table: "pd.DataFrame") -> str:
    """Returns columns of texts for the terminal, the first one aligned on the left and the others on the right."""
    rows = [list(table), *zip(*(table[name] for name in table), strict=True)]
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=align(table, 1))


def format_markdown(table: "pd.DataFrame | Mapping[str, Sequence[str]]") -> str:
    """Returns columns of texts as Markdown, the first two aligned on the left and the others on the right."""
    sides = align(table, 2)
    return tabulate(table, "keys", tablefmt="pipe", showindex=False, disable_numparse=True, colalign=sides)


def align(columns: Iterable, left: int) -> list[str]:
    return ["left" if number < left else "right" for number, _ in enumerate(columns)]


def format_entry(name: str, value: str, indent: int = 12) -> str:
    """Returns a name and its value, which continues below itself; words that are longer than a line stay whole."""
    lines = textwrap.wrap(to_one_line(value), WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    return f"{name:<{indent}}" + ("\n" + " " * indent).join(lines)
