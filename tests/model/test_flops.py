"""The count of multiply-adds, compared with counts by hand."""

import pytest

from aux_rnn.config.serialization import from_flat
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.flops import count_training_step, count_transformer

SPEC = SequenceSpec(length=20, channels=3, num_classes=10)
TOKENS = SequenceSpec(length=20, channels=1, num_classes=10, vocabulary_size=11)
SIZES = dict(embedding_size=2, hidden_size=4, head_sizes=(5,), decoder_sizes=(6, 7), decoder_head_sizes=(8,))
SETTINGS = dict(SIZES, segment_length=9, supervised_truncation=5, auxiliary_truncation=3, batch_size=1)

# One step of the encoder: four gates of (2 + 4) x 4, and an embedding of 3 x 2 whose input needs no gradient.
CELL, EMBEDDING = 4 * (2 + 4) * 4, 3 * 2
FORWARD, BOTH = CELL + EMBEDDING, 3 * CELL + 2 * EMBEDDING
HEAD = 3 * (4 * 5 + 5 * 10)
DECODER_STEP = 3 * (4 * (2 + 6) * 6 + 4 * (6 + 7) * 7 + 7 * 8 + 8 * 3) + 2 * EMBEDDING
DECODER = 9 * DECODER_STEP + 3 * (2 * 4 * 6)


# Folded, an element of three channels is multiplied by one matrix of 3 x (4 x 4) and needs no gradient.
FOLDED_FORWARD, FOLDED_BOTH = 4 * 4 * 4 + 3 * 16, 3 * (4 * 4 * 4) + 2 * (3 * 16)
FOLDED_DECODER_STEP = 3 * (4 * 6 * 6 + 4 * (6 + 7) * 7 + 7 * 8 + 8 * 3) + 2 * (3 * 4 * 6)
FOLDED_DECODER = 9 * FOLDED_DECODER_STEP + 3 * (2 * 4 * 6)

NONE, FULL = dict(auxiliary="none"), dict(auxiliary="none", supervised_truncation="full")
RECONSTRUCT, PREDICT = dict(auxiliary="reconstruct"), dict(auxiliary="predict")


def count(settings, phase="train", spec=SPEC, folded=False):
    return count_training_step(from_flat({**SETTINGS, **settings}), spec, phase, folded=folded)


@pytest.mark.parametrize(
    ("settings", "phase", "expected"),
    [
        (NONE, "train", 15 * FORWARD + 5 * BOTH + HEAD),
        (NONE | dict(batch_size=7), "train", 7 * (15 * FORWARD + 5 * BOTH + HEAD)),
        (FULL, "train", 20 * BOTH + HEAD),
        (NONE | dict(supervised_truncation=0), "train", 20 * FORWARD + HEAD),
        (NONE | dict(encoder="gru"), "train", (15 + 3 * 5) * CELL * 3 // 4 + (15 + 2 * 5) * EMBEDDING + HEAD),
        (RECONSTRUCT, "pretrain", 17 * FORWARD + 3 * BOTH + DECODER),
        (RECONSTRUCT, "train", 17 * FORWARD + (5 + 3) * BOTH + DECODER + HEAD),
        # The last anchor of a prediction is at 20 - 9.
        (PREDICT, "pretrain", 8 * FORWARD + 3 * BOTH + DECODER),
        (dict(auxiliary="both", num_anchors=2), "pretrain", 17 * FORWARD + 2 * 2 * 3 * BOTH + 2 * 2 * DECODER),
        # One window without a cut puts the whole first pass under the gradient.
        (RECONSTRUCT | dict(auxiliary_truncation="full"), "train", 20 * BOTH + 5 * BOTH + DECODER + HEAD),
    ],
)
def test_a_step_counts_what_a_hand_counts(settings, phase, expected):
    assert count(settings, phase) == expected


def test_a_folded_embedding_costs_one_small_matrix():
    expected = 17 * FOLDED_FORWARD + (5 + 3) * FOLDED_BOTH + FOLDED_DECODER + HEAD
    assert count(RECONSTRUCT, folded=True) == expected


def test_tokens_are_looked_up_for_nothing_and_folded_ones_are_rows_of_a_table():
    assert count(NONE, spec=TOKENS) == (15 + 3 * 5) * CELL + HEAD
    decoder_step = 3 * (4 * 6 * 6 + 4 * (6 + 7) * 7 + 7 * 8 + 8 * 11)
    expected = (8 + 3 * 3) * 4 * 4 * 4 + 9 * decoder_step + 3 * (2 * 4 * 6)
    assert count(PREDICT, "pretrain", TOKENS, folded=True) == expected


def test_the_step_of_cifar_at_the_papers_sizes_needs_467_gflop():
    cifar = SequenceSpec(length=1024, channels=3, num_classes=10)
    config = from_flat(dict(dataset="cifar10", auxiliary="reconstruct"))
    assert 2e-9 * count_training_step(config, cifar, folded=True) == pytest.approx(467.3, abs=0.05)


def test_attention_grows_with_the_square_of_the_length():
    # A layer of width 4 on 5 elements: 4 projections 4 x 4, 4 x 8 and 8 x 4, and twice 5 x 5 x 4 for attention.
    layer = 5 * (4 * 16 + 32 + 32) + 2 * 25 * 4
    assert count_transformer(5, 3, layers=2, size=4) == 3 * 2 * layer + 2 * 5 * 3 * 4
    assert count_transformer(50_000, 0, 1, 4) / count_transformer(5_000, 0, 1, 4) == pytest.approx(100, rel=0.01)
