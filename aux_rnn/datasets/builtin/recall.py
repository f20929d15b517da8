"""Synthetic sequences of any length that begin with a class, which must be named after the last step.

Step 0 shows class c as the grey value 28 c; all later steps are uniform noise. A network succeeds only if it remembers
the first step. The numbers are the raw output of NumPy's PCG64, which NumPy promises not to change, so the sequences of
a length are the same on every machine.
"""

import numpy as np

from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets.dataset import Dataset, OpenedDataset, Records
from aux_rnn.datasets.forms import StoredForm

DEFAULT_LENGTH = 64
NUM_CLASSES = 10
GREY_STEP = 28
TRAIN_EXAMPLES, TEST_EXAMPLES = 10_000, 1_000
BYTES_PER_WORD = 8


class RecallForm(StoredForm):
    """Images of one row, whose width is `sequence_length`."""

    size_setting = "sequence_length"

    def shape(self, config: DataConfig) -> tuple[int, int, int]:
        super().shape(config)
        if config.sequence_length == 1:
            raise setting_error("sequence_length", 1, f"at least 2 for {config.dataset} (0: {DEFAULT_LENGTH})")
        return 1, config.sequence_length or DEFAULT_LENGTH, 1


def read_split(split: str, config: DataConfig) -> Records:
    """Returns records whose sequences are generated when they are read."""
    seed, count = (0, TRAIN_EXAMPLES) if split == "train" else (1, TEST_EXAMPLES)
    length = config.sequence_length or DEFAULT_LENGTH
    labels = (np.random.PCG64(seed).random_raw(count) % NUM_CLASSES).astype(np.int64)
    words = -(-length // BYTES_PER_WORD)

    def generate(row: int) -> np.ndarray:
        bits = np.random.PCG64(seed).advance(count + row * words)  # the labels come first
        # Little-endian by name: the bytes are the same on every machine.
        sequence = bits.random_raw(words).astype("<u8").view(np.uint8)[:length]
        sequence[0] = labels[row] * GREY_STEP
        return sequence.reshape(1, -1, 1)

    return Records(count, lambda rows: ([generate(row) for row in rows], labels[list(rows)]))


class Recall(Dataset):
    """The data set, whose sequences have the length that the configuration asks for."""

    def open(self, config: DataConfig) -> OpenedDataset:
        return OpenedDataset(tuple("0123456789"), lambda split: read_split(split, config))


DATASET = Recall(
    name="recall",
    form=RecallForm((1, None, 1), np.uint8),
    num_classes=NUM_CLASSES,
    train_examples=TRAIN_EXAMPLES,
    test_examples=TEST_EXAMPLES,
)
