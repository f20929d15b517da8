"""Order, completeness and sharing of batches."""

import grain
import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.datasets import Examples, TrainBatches, evaluation_batches


def numbered_examples(count):
    """Examples whose label is their index and whose pixels repeat it."""
    labels = np.arange(count, dtype=np.int32)
    return Examples(np.broadcast_to(labels[:, None, None, None], (count, 2, 2, 3)).astype(np.uint8), labels)


def numbered_texts(count):
    """Texts whose label, only byte and, but for the zeroth, length is their index."""
    labels = np.arange(count, dtype=np.int32)
    return Examples(np.where(np.arange(count) < labels[:, None], labels[:, None], 0).astype(np.uint8), labels, labels)


def test_shapes_and_types_without_and_with_lengths():
    for make, shape, names in ((numbered_examples, (4, 2, 2, 3), []), (numbered_texts, (4, 10), ["lengths"])):
        batch = TrainBatches(make(10), batch_size=4, seed=0)[0]
        assert set(batch) == {"inputs", "labels", *names}
        assert (batch["inputs"].shape, batch["inputs"].dtype) == (shape, np.uint8)
        for values in (batch["inputs"].reshape(4, -1).max(1), *(batch[name] for name in names)):
            np.testing.assert_array_equal(values, batch["labels"])
        assert {batch[name].dtype for name in ("labels", *names)} == {np.dtype(np.int32)}
    *_, last = evaluation_batches(numbered_texts(10), 4)
    assert (last["mask"].tolist(), last["lengths"].tolist()) == ([True, True, False, False], [8, 9, 0, 0])
    assert not last["inputs"][2:].any()


@pytest.mark.parametrize(("count", "batch_size", "seed"), [(10, 4, 0), (100, 64, 7), (1000, 128, 2**40), (3, 1, 5)])
def test_order_is_that_of_a_shuffled_grain_dataset_in_every_epoch(count, batch_size, seed):
    rows = grain.MapDataset.range(count).seed(seed).shuffle().batch(batch_size, drop_remainder=True)
    batches = TrainBatches(numbered_examples(count), batch_size, seed)
    for step in (7 * len(rows) + 1, len(rows), len(rows) - 1, 2, 1, 0):  # each step is computed by itself
        np.testing.assert_array_equal(batches.indices(step), rows[step])
        np.testing.assert_array_equal(batches[step]["labels"], rows[step])


@pytest.mark.parametrize("process_count", [2, 4])
def test_shares_of_the_processes_make_up_the_global_batch(process_count):
    examples = numbered_examples(30)
    whole = TrainBatches(examples, 8, seed=2)
    shares = [TrainBatches(examples, 8, 2, index, process_count) for index in range(process_count)]
    np.testing.assert_array_equal(np.concatenate([share.places() for share in shares]), np.arange(8))
    for step in (0, 1, 2, 3, 50):
        parts = [share[step] for share in shares]
        for key in ("inputs", "labels"):
            assert all(len(part[key]) == 8 // process_count for part in parts)
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), whole[step][key])


@pytest.mark.parametrize("process_count", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 13])
def test_evaluation_visits_every_example_once_in_order(count, process_count):
    examples = numbered_examples(count)
    runs = [list(evaluation_batches(examples, 4, index, process_count)) for index in range(process_count)]
    assert {len(run) for run in runs} == {-(-count // 4)}
    seen = []
    for parts in zip(*runs, strict=True):
        for part in parts:
            assert part["inputs"].shape == (4 // process_count, 2, 2, 3)
            assert (part["labels"].dtype, part["mask"].dtype) == (np.int32, np.bool_)
            np.testing.assert_array_equal(part["inputs"][:, 0, 0, 0], part["labels"])
            assert not part["labels"][~part["mask"]].any()
            seen.extend(part["labels"][part["mask"]])
    assert seen == list(range(count))


def test_batches_that_cannot_be_made_are_refused():
    with pytest.raises(ConfigError, match="--batch_size=11: must be at most 10, the number of training examples"):
        TrainBatches(numbered_examples(10), batch_size=11, seed=0)
    with pytest.raises(ConfigError, match="--batch_size=5: must be a multiple of the 2 processes"):
        TrainBatches(numbered_examples(10), 5, 0, process_index=0, process_count=2)
    with pytest.raises(ConfigError, match="--batch_size=5: must be a multiple of the 2 processes"):
        next(evaluation_batches(numbered_examples(10), 5, 0, 2))
