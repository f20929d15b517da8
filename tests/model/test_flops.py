"""The count of multiply-adds, compared with counts by hand."""

import pytest

from aux_rnn.config.serialization import from_flat
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model.flops import count_training_step, count_transformer

SPEC = SequenceSpec(length=20, channels=3, num_classes=10)
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
FOLDED_TOKEN_DECODER = 9 * 3 * (4 * 6 * 6 + 4 * (6 + 7) * 7 + 7 * 8 + 8 * 11) + 3 * (2 * 4 * 6)
TOKENS = {"spec": SequenceSpec(length=20, channels=1, num_classes=10, vocabulary_size=11)}
PRETRAIN, FOLDED = {"phase": "pretrain"}, {"folded": True}
RECONSTRUCT, PREDICT = dict(auxiliary="reconstruct"), dict(auxiliary="predict")


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        (NONE, {}, 15 * FORWARD + 5 * BOTH + HEAD),
        (NONE | dict(batch_size=7), {}, 7 * (15 * FORWARD + 5 * BOTH + HEAD)),
        (FULL, {}, 20 * BOTH + HEAD),
        (NONE | dict(supervised_truncation=0), {}, 20 * FORWARD + HEAD),
        (NONE | dict(encoder="gru"), {}, (15 + 3 * 5) * CELL * 3 // 4 + (15 + 2 * 5) * EMBEDDING + HEAD),
        (RECONSTRUCT, PRETRAIN, 17 * FORWARD + 3 * BOTH + DECODER),
        (RECONSTRUCT, {}, 17 * FORWARD + (5 + 3) * BOTH + DECODER + HEAD),
        # The last anchor of a prediction is at 20 - 9.
        (PREDICT, PRETRAIN, 8 * FORWARD + 3 * BOTH + DECODER),
        (dict(auxiliary="both", num_anchors=2), PRETRAIN, 17 * FORWARD + 2 * 2 * 3 * BOTH + 2 * 2 * DECODER),
        # One window without a cut puts the whole first pass under the gradient.
        (RECONSTRUCT | dict(auxiliary_truncation="full"), {}, 20 * BOTH + 5 * BOTH + DECODER + HEAD),
        (RECONSTRUCT, FOLDED, 17 * FOLDED_FORWARD + (5 + 3) * FOLDED_BOTH + FOLDED_DECODER + HEAD),
        # Tokens are looked up for nothing; folded ones are rows of a table.
        (NONE, TOKENS, (15 + 3 * 5) * CELL + HEAD),
        (PREDICT, TOKENS | PRETRAIN | FOLDED, (8 + 3 * 3) * 4 * 4 * 4 + FOLDED_TOKEN_DECODER),
    ],
)
def test_a_step_counts_what_a_hand_counts(settings, options, expected):
    assert count_training_step(from_flat({**SETTINGS, **settings}), **{"spec": SPEC, **options}) == expected


def test_the_step_of_cifar_at_the_papers_sizes_needs_467_gflop():
    cifar = SequenceSpec(length=1024, channels=3, num_classes=10)
    config = from_flat(dict(dataset="cifar10", auxiliary="reconstruct"))
    assert 2e-9 * count_training_step(config, cifar, folded=True) == pytest.approx(467.3, abs=0.05)


def test_attention_grows_with_the_square_of_the_length():
    # A layer of width 4 on 5 elements: 4 projections 4 x 4, 4 x 8 and 8 x 4, and twice 5 x 5 x 4 for attention.
    layer = 5 * (4 * 16 + 32 + 32) + 2 * 25 * 4
    assert count_transformer(5, 3, layers=2, size=4) == 3 * 2 * layer + 2 * 5 * 3 * 4
    assert count_transformer(50_000, 0, 1, 4) / count_transformer(5_000, 0, 1, 4) == pytest.approx(100, rel=0.01)
