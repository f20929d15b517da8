"""Order, completeness and sharing of batches."""

import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.datasets import Examples, evaluation_batches, steps_per_epoch, train_batches


def numbered_examples(count):
    """Examples whose label is their index and whose pixels repeat it."""
    labels = np.arange(count, dtype=np.int32)
    return Examples(np.broadcast_to(labels[:, None, None, None], (count, 2, 2, 3)).astype(np.uint8), labels)


def numbered_texts(count):
    """Texts whose label, only byte and, but for the zeroth, length is their index."""
    labels = np.arange(count, dtype=np.int32)
    return Examples(np.where(np.arange(count) < labels[:, None], labels[:, None], 0).astype(np.uint8), labels, labels)


def epoch_labels(dataset, epoch):
    steps = len(dataset)
    return np.concatenate([dataset[step]["labels"] for step in range(epoch * steps, (epoch + 1) * steps)])


def test_shapes_and_types():
    batch = train_batches(numbered_examples(10), batch_size=4, seed=0)[0]
    assert set(batch) == {"inputs", "labels", "rows", "mask"}
    assert (batch["inputs"].shape, batch["inputs"].dtype) == ((4, 2, 2, 3), np.uint8)
    assert (batch["labels"].shape, batch["labels"].dtype) == ((4,), np.int32)
    np.testing.assert_array_equal(batch["inputs"][:, 1, 1, 2], batch["labels"])


def test_texts_bring_their_lengths():
    texts = numbered_texts(10)
    batch = train_batches(texts, batch_size=4, seed=0)[0]
    assert set(batch) == {"inputs", "labels", "rows", "mask", "lengths"}
    assert (batch["inputs"].shape, batch["lengths"].dtype) == ((4, 10), np.int32)
    np.testing.assert_array_equal(batch["lengths"], batch["labels"])
    np.testing.assert_array_equal(batch["inputs"].max(1), batch["labels"])
    *_, last = evaluation_batches(texts, 4)
    assert last["mask"].tolist() == [True, True, False, False]
    assert last["lengths"].tolist() == [8, 9, 0, 0]
    assert not last["inputs"][2:].any()


def test_every_epoch_is_another_permutation():
    dataset = train_batches(numbered_examples(40), batch_size=8, seed=1)
    epochs = [epoch_labels(dataset, epoch) for epoch in range(3)]
    for labels in epochs:
        np.testing.assert_array_equal(np.sort(labels), np.arange(40))
        assert labels.tolist() != list(range(40))
    assert len({tuple(labels) for labels in epochs}) == 3


def test_the_remainder_of_an_epoch_is_left_out_and_differs():
    dataset = train_batches(numbered_examples(10), batch_size=4, seed=0)
    assert len(dataset) == steps_per_epoch(10, 4) == 2
    left_out = set()
    for epoch in range(20):
        labels = epoch_labels(dataset, epoch)
        assert len(set(labels.tolist())) == 8
        left_out |= set(range(10)) - set(labels.tolist())
    assert left_out == set(range(10))


def test_order_is_a_function_of_seed_and_step():
    examples = numbered_examples(30)
    forward = [train_batches(examples, 4, seed=7)[step]["labels"].tolist() for step in range(25)]
    dataset = train_batches(examples, 4, seed=7)
    assert [dataset[step]["labels"].tolist() for step in reversed(range(25))] == forward[::-1]
    assert [
        batch["labels"].tolist() for _, batch in zip(range(25), dataset.repeat().to_iter_dataset(), strict=False)
    ] == (forward)
    assert train_batches(examples, 4, seed=8)[0]["labels"].tolist() != forward[0]
    train_batches(examples, 4, seed=2**40)[0]


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_shares_of_the_processes_make_up_the_global_batch(process_count):
    examples = numbered_examples(30)
    whole = train_batches(examples, 8, seed=2)
    shares = [train_batches(examples, 8, 2, index, process_count) for index in range(process_count)]
    for step in (0, 1, 2, 3, 50):
        parts = [share[step] for share in shares]
        for key in ("inputs", "labels"):
            assert all(len(part[key]) == 8 // process_count for part in parts)
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), whole[step][key])


@pytest.mark.parametrize("process_count", [1, 2])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 13])
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


def test_evaluation_of_nothing():
    assert list(evaluation_batches(numbered_examples(0), 4)) == []


def test_batches_that_cannot_be_made_are_refused():
    with pytest.raises(ConfigError, match="--batch_size=11: must be at most 10, the number of training examples"):
        train_batches(numbered_examples(10), batch_size=11, seed=0)
    with pytest.raises(ConfigError, match="--batch_size=5: must be a multiple of the 2 processes"):
        train_batches(numbered_examples(10), 5, 0, process_index=0, process_count=2)
    with pytest.raises(ConfigError, match="--batch_size=5: must be a multiple of the 2 processes"):
        next(evaluation_batches(numbered_examples(10), 5, 0, 2))
