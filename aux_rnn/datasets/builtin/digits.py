"""1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""

import importlib.metadata

import numpy as np

from aux_rnn.datasets.dataset import OpenedDataset, ReadyDataset, Records, array_records
from aux_rnn.datasets.forms import Images

# There is no official split: the first part is for training, the rest for testing.
TRAIN_EXAMPLES, TEST_EXAMPLES = 1_437, 360


def read_grey_values(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads grey values from 0 to 16, int64 `[N, 8, 8]`, and labels int64 `[N]`."""
    # The file is read directly, because importing scikit-learn takes seconds.
    file = importlib.metadata.distribution("scikit-learn").locate_file("sklearn/datasets/data/digits.csv.gz")
    values = np.loadtxt(str(file), np.int64, delimiter=",")
    rows = values[:TRAIN_EXAMPLES] if split == "train" else values[TRAIN_EXAMPLES:]
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1]


def read_split(split: str) -> Records:
    greys, labels = read_grey_values(split)
    # 255 / 16 is not a whole number, so the values are rounded.
    return array_records(np.rint(greys * (255 / 16)).astype(np.uint8)[..., None], labels)


DATASET = ReadyDataset(
    name="digits",
    form=Images((8, 8, 1)),
    num_classes=10,
    train_examples=TRAIN_EXAMPLES,
    test_examples=TEST_EXAMPLES,
    opened=OpenedDataset(tuple("0123456789"), read_split),
)
