"""Anchors and segments, against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets.dataset import make_permutation
from aux_rnn.model import segments as sequences
from aux_rnn.model.inputs import read_inputs


def test_whole_pixels_are_read_row_by_row_or_permuted_and_scaled():
    spec = SequenceSpec(length=4, channels=2, num_classes=2)
    images = np.array([[[[0, 255], [51, 102]], [[153, 204], [255, 0]]]], np.uint8)
    expected = np.array([[[0, 1], [0.2, 0.4], [0.6, 0.8], [1, 0]]])
    np.testing.assert_allclose(read_inputs({"inputs": images}, spec, None)[0], expected, rtol=1e-6)
    order = np.array([3, 0, 2, 1])
    np.testing.assert_allclose(read_inputs({"inputs": images}, spec, order)[0], expected[:, order], rtol=1e-6)


def test_a_permutation_belongs_to_its_seed():
    assert (make_permutation(784, 0) != make_permutation(784, 1)).any()
    # Written down, so that no release of NumPy changes the experiment unnoticed.
    np.testing.assert_array_equal(make_permutation(8, 0), [3, 2, 1, 6, 0, 7, 4, 5])


def test_the_allowed_range_of_anchors():
    lengths = jnp.array([10, 4, 3, 1, 0])
    # The first and the last anchor, and the number of targets.
    reconstruct, predict = (sequences.anchor_range(kind, lengths, 4) for kind in ("reconstruct", "predict"))
    np.testing.assert_array_equal(reconstruct, [[4, 4, 3, 1, 0], [10, 4, 3, 1, 0], [4, 4, 3, 1, 0]])
    np.testing.assert_array_equal(predict, [[1, 1, 1, 1, 0], [6, 1, 1, 1, 0], [4, 3, 2, 0, 0]])


def test_anchors_cover_exactly_the_allowed_range_uniformly():
    anchors = sequences.sample_anchors(jax.random.key(0), jnp.arange(500), jnp.full(500, 4), jnp.full(500, 10), 14)
    assert anchors.shape == (500, 14)
    values, counts = np.unique(anchors, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(4, 11))
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)  # five standard deviations of a binomial count


def test_an_anchor_depends_on_step_and_row_and_not_on_the_layout():
    first, last, rows = jnp.full(64, 1), jnp.full(64, 1000), jnp.arange(64)
    keys = [jax.random.fold_in(jax.random.key(0), step) for step in range(2)]
    now, later = (sequences.sample_anchors(key, rows, first, last, 3) for key in keys)
    assert (now != later).mean() > 0.9
    assert len(np.unique(now)) > 96
    half = sequences.sample_anchors(keys[0], rows[32:], first[32:], last[32:], 3)
    np.testing.assert_array_equal(now[32:], half)


# One example that fills the sequence of 6, and one of 3 elements behind 3 of padding.
TOKENS = jnp.array([[1, 2, 3, 4, 5, 6], [0, 0, 0, 7, 8, 9]])
LENGTHS = jnp.array([6, 3])


# Anchors, segments of 4 of the first example, the elements that count of the first segment of the second, and masks.
@pytest.mark.parametrize(
    ("kind", "anchors", "targets", "inputs", "short_targets", "short_inputs", "count"),
    [
        ("reconstruct", [[4], [6]], [[1, 2, 3, 4]], [[0, 1, 2, 3]], [7, 8, 9], [0, 7, 8], 3),
        ("predict", [[1, 2], [4, 4]], [[2, 3, 4, 5], [3, 4, 5, 6]], [[1, 2, 3, 4], [2, 3, 4, 5]], [8, 9], [7, 8], 2),
    ],
)
def test_a_segment_ends_or_starts_at_its_anchor(kind, anchors, targets, inputs, short_targets, short_inputs, count):
    segments = sequences.slice_segments(kind, TOKENS, LENGTHS, jnp.array(anchors), 4)
    np.testing.assert_array_equal(segments.targets[0], targets)
    np.testing.assert_array_equal(segments.inputs[0], inputs)
    np.testing.assert_array_equal(segments.targets[1, 0, :count], short_targets)
    np.testing.assert_array_equal(segments.inputs[1, 0, :count], short_inputs)
    np.testing.assert_array_equal(segments.mask[:, 0], [[True] * 4, [place < count for place in range(4)]])


def test_drawn_segments_lie_within_each_example():
    inputs = jnp.tile(jnp.arange(20.0)[None, :, None], (50, 1, 1))
    lengths = jnp.arange(1, 51) % 20 + 1
    for kind in ("reconstruct", "predict"):
        drawn = sequences.draw_segments(
            jax.random.key(3), kind, inputs, lengths, jnp.arange(50), num_anchors=2, segment_length=6
        )
        targets, mask = np.asarray(drawn.targets[..., 0]), np.asarray(drawn.mask)
        assert mask.any()
        assert (targets >= (20 - lengths)[:, None, None])[mask].all()
        np.testing.assert_array_equal(np.diff(targets)[mask[..., 1:]], 1)
        if kind == "reconstruct":
            np.testing.assert_array_equal(targets.max(-1, where=mask, initial=-1) + 1, drawn.anchors)


def test_inputs_are_dropped_but_for_the_first_of_a_segment():
    inputs = jnp.ones((400, 2, 5, 3))
    segments = sequences.Segments(jnp.zeros((400, 2), jnp.int32), inputs, inputs, jnp.ones((400, 2, 5), bool))
    rows = jnp.arange(400)
    dropped = sequences.input_dropout(jax.random.key(0), segments, rows, 0.75)
    kept = np.asarray(dropped.inputs)
    np.testing.assert_array_equal(kept.max(-1), kept.min(-1))  # all channels of an element or none
    assert kept[:, :, 0].all()
    assert kept[:, :, 1:].mean() == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(dropped.targets, segments.targets)
    # A row's choice belongs to its place in the global batch.
    part = jax.tree.map(lambda leaf: leaf[100:200], segments)
    again = sequences.input_dropout(jax.random.key(0), part, rows[100:200], 0.75)
    np.testing.assert_array_equal(again.inputs, kept[100:200])
    assert sequences.input_dropout(jax.random.key(0), segments, rows, 0.0) is segments
    tokens = jnp.full((3, 1, 4), 7)
    segments = sequences.Segments(jnp.zeros((3, 1), jnp.int32), tokens, tokens, jnp.ones((3, 1, 4), bool))
    only_first = sequences.input_dropout(jax.random.key(0), segments, jnp.arange(3), 1).inputs  # as in a config.json
    assert only_first.dtype == tokens.dtype
    np.testing.assert_array_equal(only_first, np.tile([7, 0, 0, 0], (3, 1, 1)))
