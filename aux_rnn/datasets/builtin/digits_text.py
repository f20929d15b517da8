"""The digits of scikit-learn drawn in characters: texts of unequal lengths that need no files."""

import numpy as np

from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.builtin.digits import CLASS_NAMES, TEST_EXAMPLES, TRAIN_EXAMPLES, read_grey_values
from aux_rnn.datasets.dataset import ArrayDataset, ArrayRecords
from aux_rnn.datasets.forms import Texts

CHARACTERS = " .:-=+*#%@"


def draw_digit(greys: np.ndarray) -> bytes:
    """Draws grey values from 0 to 16, integer `[H, W]`, as one line of text per row, without trailing blanks."""
    # The nearest of the ten levels; halves are rounded up.
    levels = (greys * (len(CHARACTERS) - 1) + 8) // 16
    return "\n".join("".join(CHARACTERS[level] for level in row).rstrip() for row in levels).encode()


def read_split(split: str, config: DataConfig) -> ArrayRecords:
    greys, labels = read_grey_values(split)
    return ArrayRecords([np.frombuffer(draw_digit(grey), np.uint8) for grey in greys], labels)


DATASET = ArrayDataset(
    name="digits_text",
    form=Texts(longest=64),
    num_classes=10,
    train_examples=TRAIN_EXAMPLES,
    test_examples=TEST_EXAMPLES,
    class_names=CLASS_NAMES,
    read_split=read_split,
)
