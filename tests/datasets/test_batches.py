"""Order, completeness and sharing of batches."""

import grain
import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.datasets import Examples, TrainBatches, evaluation_batches


def numbered_texts(count):
    """Returns texts whose label and length are their index, and whose only byte is its remainder by 256."""
    labels = np.arange(count, dtype=np.int32)
    return Examples(np.where(labels < labels[:, None], labels[:, None], 0).astype(np.uint8), labels, labels)


def check(batch, size):
    """Asserts that a batch consists of so many of these texts, and of zeros where its mask is false."""
    for name in ("inputs", "labels", "lengths"):
        assert len(batch[name]) == size
    np.testing.assert_array_equal(batch["inputs"].max(1), batch["labels"] % 256)
    np.testing.assert_array_equal(batch["lengths"], batch["labels"])
    assert not batch["labels"][~batch.get("mask", np.ones(size, bool))].any()
    assert (batch["inputs"].dtype, batch["labels"].dtype) == (np.uint8, np.int32)


@pytest.mark.parametrize(("count", "batch_size", "seed"), [(10, 4, 0), (100, 64, 7), (1000, 128, 2**40), (3, 1, 5)])
def test_order_is_that_of_a_shuffled_grain_dataset_in_every_epoch(count, batch_size, seed):
    rows = grain.MapDataset.range(count).seed(seed).shuffle().batch(batch_size, drop_remainder=True)
    batches = TrainBatches(numbered_texts(count), batch_size, seed)
    for step in (7 * len(rows) + 1, len(rows), len(rows) - 1, 2, 1, 0):  # each step is computed by itself
        np.testing.assert_array_equal(batches.indices(step), rows[step])
        np.testing.assert_array_equal(batches[step]["labels"], rows[step])
        check(batches[step], batch_size)


@pytest.mark.parametrize("process_count", [2, 4])
def test_shares_of_the_processes_make_up_the_global_batch(process_count):
    examples = numbered_texts(30)
    whole = TrainBatches(examples, 8, seed=2)
    shares = [TrainBatches(examples, 8, 2, index, process_count) for index in range(process_count)]
    np.testing.assert_array_equal(np.concatenate([share.places() for share in shares]), np.arange(8))
    for step in (0, 1, 2, 3, 50):
        parts = [share[step] for share in shares]
        for part in parts:
            check(part, 8 // process_count)
        np.testing.assert_array_equal(np.concatenate([part["labels"] for part in parts]), whole[step]["labels"])


@pytest.mark.parametrize("process_count", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 13])
def test_evaluation_visits_every_example_once_in_order(count, process_count):
    examples = numbered_texts(count)
    runs = [list(evaluation_batches(examples, 4, index, process_count)) for index in range(process_count)]
    assert {len(run) for run in runs} == {-(-count // 4)}
    seen = []
    for parts in zip(*runs, strict=True):
        for part in parts:
            check(part, 4 // process_count)
            seen.extend(part["labels"][part["mask"]])
    assert seen == list(range(count))


def test_batches_that_cannot_be_made_are_refused():
    with pytest.raises(ConfigError, match="batch_size=5: must be a multiple of the 2 processes"):
        TrainBatches(numbered_texts(10), 5, 0, process_index=0, process_count=2)
    with pytest.raises(ConfigError, match="batch_size=5: must be a multiple of the 2 processes"):
        next(evaluation_batches(numbered_texts(10), 5, 0, 2))
