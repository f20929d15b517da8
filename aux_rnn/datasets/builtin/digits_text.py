"""The digits of scikit-learn drawn in characters: texts of unequal lengths that need no files."""

import dataclasses

import numpy as np

from aux_rnn.datasets.builtin import digits
from aux_rnn.datasets.dataset import OpenedDataset, Records, array_records
from aux_rnn.datasets.forms import Texts

CHARACTERS = " .:-=+*#%@"


def draw_digit(greys: np.ndarray) -> bytes:
    """Draws grey values from 0 to 16, integer `[H, W]`, as one line of text per row, without trailing blanks."""
    # The nearest of the ten levels; halves are rounded up.
    levels = (greys * (len(CHARACTERS) - 1) + 8) // 16
    return "\n".join("".join(CHARACTERS[level] for level in row).rstrip() for row in levels).encode()


def read_split(split: str) -> Records:
    greys, labels = digits.read_grey_values(split)
    return array_records([np.frombuffer(draw_digit(grey), np.uint8) for grey in greys], labels)


DATASET = dataclasses.replace(
    digits.DATASET,
    name="digits_text",
    form=Texts(longest=64),
    opened=OpenedDataset(digits.DATASET.opened.class_names, read_split),
)
