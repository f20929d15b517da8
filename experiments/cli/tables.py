"""Tables, and lists of names and values, for terminals of 80 columns and for Markdown."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tabulate import tabulate

from aux_rnn.errors import to_one_line

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 80


def format_table(table: "pd.DataFrame | Mapping[str, Sequence[str]]", style: str = "plain", left: int = 1) -> str:
    """Returns a table of texts.

    Args:
      table: its columns.
      style: 'plain', or 'pipe' for Markdown.
      left: number of columns that are aligned on the left; the others are aligned on the right.
    """
    sides = ["left"] * left + ["right"] * (len([*table]) - left)
    return tabulate(table, headers="keys", tablefmt=style, showindex=False, disable_numparse=True, colalign=sides)


def format_entry(name: str, value: str, indent: int = 12) -> str:
    """Returns a name and its value, which continues below itself; words that are longer than a line stay whole."""
    lines = textwrap.wrap(to_one_line(value), WIDTH - indent, break_long_words=False, break_on_hyphens=False)
    return f"{name:<{indent}}" + ("\n" + " " * indent).join(lines)
