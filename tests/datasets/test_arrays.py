"""Arrays of a program: labels of any kind, padding on either side and of any value, channels first, lists."""

import numpy as np
import pandas as pd
import pytest
from properties import refused
from small_network import FLOATS, LABELS

from aux_rnn.datasets import DataError
from aux_rnn.datasets.arrays import read_arrays

LENGTHS = 3 + np.arange(24) % 4
IS_ELEMENT = {"left": np.arange(6) >= 6 - LENGTHS[:, None], "right": np.arange(6) < LENGTHS[:, None]}
ALIGNED = np.where(IS_ELEMENT["left"][..., None], FLOATS, 0)
TO_RIGHT = np.stack([np.roll(row, n, axis=0) for row, n in zip(ALIGNED, LENGTHS, strict=True)])
WRITTEN = {"left": ALIGNED, "right": TO_RIGHT}


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (LABELS, [0, 1, 2]),
        (LABELS * 5 + 3, [3, 8, 13]),
        (np.where(LABELS == 1, 1, -1), [-1, 1]),
        (LABELS == 1, [False, True]),
        (LABELS.astype(float), [0.0, 1.0, 2.0]),
        (np.array(["cat", "ape", "dog"])[LABELS], ["ape", "cat", "dog"]),
        (["cat", "ape", "dog"] * 8, ["ape", "cat", "dog"]),
        (pd.Series(["cat", "ape", "dog"] * 8, dtype="category"), ["ape", "cat", "dog"]),
        (pd.Series(LABELS, dtype="Int64"), [0, 1, 2]),
        (np.array([2**40, 7, 8] * 8), [7, 8, 2**40]),
    ],
)
def test_labels_of_any_kind_are_mapped_to_their_classes(labels, classes):
    examples, form = read_arrays(FLOATS, labels)
    assert list(form.classes) == classes
    assert [type(each) for each in form.classes] == [type(each) for each in classes]
    assert form.spec.num_classes == len(classes)
    assert np.array(form.classes)[examples.labels].tolist() == np.asarray(labels).tolist()
    assert form.read(FLOATS, labels).labels.tolist() == examples.labels.tolist()


def test_classes_that_do_not_occur_are_counted_if_their_number_is_given():
    examples, form = read_arrays(FLOATS, LABELS * 2, num_classes=6)
    assert form.classes == (0, 1, 2, 3, 4, 5)
    assert examples.labels.tolist() == (LABELS * 2).tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "labels: are None; must be one class per sequence"),
        ([*LABELS[:23], None], "labels: 1 of 24 are missing, the first at [23]; leave these examples out"),
        (np.where(LABELS == 1, np.nan, 0), "labels: 8 of 24 are missing, the first at [1]"),
        (["a", "b", np.nan] * 8, "labels: 8 of 24 are missing, the first at [2]"),
        (np.array(["a", "b", np.nan] * 8), "labels: 8 of 24 are missing, the first at [2]"),
        (pd.Series([1, 2, pd.NA] * 8, dtype="Int64"), "labels: 8 of 24 are missing"),
        (LABELS - 1, "labels: are from -1, which often marks a missing label, to 1; leave these"),
        (LABELS / 2, "labels: float64 [24] with values such as 0.5: must be one class per sequence"),
        (LABELS + 1j, "labels: complex128 [24]: must be"),
        (["a", 1, "b"] * 8, "labels: object [24] with elements of int, str: must be"),
        (np.eye(3)[LABELS], "integers, booleans or strings [N]; write labels.argmax(axis=1)"),
        (LABELS[:, None], "write labels[:, 0]"),
        (FLOATS[:, 0], "labels: float64 [24, 2]: must be one class per sequence: integers, booleans or strings [N]"),
        (LABELS[:23], "labels: there are 23 for 24 sequences; must be one per sequence"),
        (1, "labels: int64 []: must be"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with refused(DataError, message):
        read_arrays(FLOATS, labels)


@pytest.mark.parametrize("filling", [0, -1, np.nan, 2 + np.arange(24)[:, None, None]])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_found_on_either_side_and_becomes_zeros_on_the_left(side, filling):
    other = "left" if side == "right" else "right"
    padded = np.where(IS_ELEMENT[side][..., None], WRITTEN[side], filling)
    for given in (None, side):
        examples, form = read_arrays(padded, LABELS, LENGTHS, padding=given)
        assert form.padding == side
        np.testing.assert_array_equal(examples.inputs, ALIGNED)
    np.testing.assert_array_equal(form.read_unlabeled(padded[:1], LENGTHS[:1]).inputs, ALIGNED[:1])
    with pytest.raises(DataError, match=f"inputs: are padded on the {side}, going by the lengths; give padding="):
        read_arrays(padded, LABELS, LENGTHS, padding=other)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_by_anything_is_read_if_its_side_is_given(side):
    """The last value is repeated on the right, or the sequence begins again; noise is no value at all."""
    noise = np.where(IS_ELEMENT[side][..., None], WRITTEN[side], FLOATS[::-1])
    with pytest.raises(DataError, match="neither end looks like padding"):
        read_arrays(noise, LABELS, LENGTHS)
    np.testing.assert_array_equal(read_arrays(noise, LABELS, LENGTHS, padding=side)[0].inputs, ALIGNED)
    blank = np.zeros_like(FLOATS)
    with pytest.raises(DataError, match="both ends look like padding"):
        read_arrays(blank, LABELS, LENGTHS)
    assert not read_arrays(blank, LABELS, LENGTHS, padding=side)[0].inputs.any()


def test_one_padded_element_is_told_by_its_value():
    sequences = FLOATS.copy()
    sequences[:, -1] = -1
    assert read_arrays(sequences, LABELS, np.full(24, 5))[1].padding == "right"
    with pytest.raises(DataError, match="neither end looks like padding"):
        read_arrays(sequences[:1], [0], [5])


@pytest.mark.parametrize("dtype", [np.int64, np.uint8])
def test_tokens_and_images_are_padded_like_values(dtype):
    tokens = (1 + 9 * TO_RIGHT[..., 0]).astype(dtype)
    expected = np.where(IS_ELEMENT["left"], (1 + 9 * ALIGNED[..., 0]).astype(dtype), 0)
    np.testing.assert_array_equal(read_arrays(tokens, LABELS, LENGTHS)[0].inputs, expected)
    if dtype == np.uint8:
        images = read_arrays(tokens.reshape(24, 2, 3, 1), LABELS, LENGTHS)[0].inputs
        np.testing.assert_array_equal(images, expected.reshape(24, 2, 3, 1))


def test_nan_without_lengths_is_refused_with_a_remedy_where_it_may_be_padding():
    padded = np.where(IS_ELEMENT["right"][..., None], TO_RIGHT, np.nan)
    with pytest.raises(DataError, match=r"nan at \[0, 3, 0\], .* float32; where NaN is padding, give lengths="):
        read_arrays(padded, LABELS)
    padded[2, 1, 1] = np.nan
    with pytest.raises(DataError, match=r"nan at \[2, 2, 1\], 1 of 288 values; must be finite in float32$"):
        read_arrays(padded, LABELS, LENGTHS)


@pytest.mark.parametrize("shape", [(24, 6, 2), (24, 4, 5, 3)])
def test_channels_may_come_first(shape):
    last = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    examples, form = read_arrays(np.moveaxis(last, -1, 1), LABELS, channels_first=True)
    np.testing.assert_array_equal(examples.inputs, last)
    np.testing.assert_array_equal(form.read_unlabeled(np.moveaxis(last, -1, 1)).inputs, last)
    wide = read_arrays(np.moveaxis(last, -1, 1), LABELS, channels_first=False)[1]
    assert wide.spec.channels == shape[-2]


@pytest.mark.parametrize("convert", [list, lambda parts: np.array(parts, object), pd.Series])
def test_a_list_of_sequences_of_unequal_length_is_padded(convert):
    parts = [row[:n] for row, n in zip(TO_RIGHT, LENGTHS, strict=True)]
    examples, form = read_arrays(convert(parts), LABELS)
    np.testing.assert_array_equal(examples.inputs, ALIGNED)
    np.testing.assert_array_equal(examples.lengths, LENGTHS)
    np.testing.assert_array_equal(form.read_unlabeled(convert(parts[:1])).inputs, ALIGNED[:1])
    first = read_arrays([part.T for part in parts], LABELS, channels_first=True)[0]
    np.testing.assert_array_equal(first.inputs, ALIGNED)
    with pytest.raises(DataError, match="have up to 7 elements; must have at most 6, as for training"):
        form.read_unlabeled([np.zeros((7, 2))])
