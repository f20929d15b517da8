"""Data in files of the user, read as the same arrays in memory are."""

import numpy as np
import pytest
from modes.data_report import report_data
from properties import refused
from small_network import FLOATS, LABELS, SMALL_NETWORK

import aux_rnn
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import DataError, find_dataset, load_splits

LENGTHS = 3 + np.arange(24) % 4
TO_RIGHT = np.where(np.arange(6) < LENGTHS[:, None], FLOATS[..., 0], np.nan)

TS = """# A comment.
@problemName Toy
@timeStamps false
@missing true
@univariate false
@equalLength false
@classLabel true walk run
@data
1,2,3:4,5,6:run
1.5,2.5,?:4.5,5.5,?:walk
"""


def load(path, **settings):
    return load_splits(DataConfig(dataset=f"file:{path}", **{"validation_fraction": 0, **settings}), seed=0)


def test_an_npz_file_is_read_like_arrays(tmp_path):
    path = tmp_path / "mine.npz"
    test = dict(test_inputs=TO_RIGHT[:5, :, None], test_labels=LABELS[:5], test_lengths=LENGTHS[:5])
    np.savez(path, inputs=TO_RIGHT[:, :, None], labels=LABELS * 2, lengths=LENGTHS, **test)
    with pytest.raises(DataError, match=r"mine.npz: test labels: 1 is unknown; must be one of the 3 classes 0, 2, 4"):
        load(path)
    np.savez(path, inputs=TO_RIGHT[:, :, None], labels=LABELS, lengths=LENGTHS, **test)
    splits = load(path, validation_fraction=0.25)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [18, 6, 5]
    rows = splits.train.ids
    assert splits.train.lengths.tolist() == LENGTHS[rows].tolist()
    for row, sequence in zip(rows, splits.train.inputs, strict=True):
        assert sequence[-LENGTHS[row] :, 0].tolist() == FLOATS[row, : LENGTHS[row], 0].tolist()
    described = report_data(DataConfig(dataset=f"file:{path}"), seed=0)
    assert "lengths     3 to 6 steps long, median 4" in described
    assert str(path) in described
    assert find_dataset(DataConfig(dataset=f"file:{path}")).opened.class_names == ["0", "1", "2"]


def test_a_file_that_has_changed_is_read_again_and_is_other_data(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, inputs=FLOATS, labels=LABELS)
    before = load(path).fingerprint
    assert load(path).fingerprint == before
    np.savez(path, inputs=FLOATS + 1, labels=LABELS)
    assert load(path).fingerprint != before


def test_settings_say_what_the_arrays_of_a_file_do_not(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, inputs=FLOATS.swapaxes(1, 2), labels=LABELS)
    with pytest.raises(DataError, match=r"look like .*, with the channels first"):
        load(path)
    np.testing.assert_array_equal(load(path, channels="first").train.inputs, FLOATS)
    assert find_dataset(DataConfig(dataset=f"file:{path}", channels="last")).form.stored_shape == (2, 6)
    with pytest.raises(aux_rnn.ConfigError, match=r"image_size=4: must be 0"):
        load(path, channels="first", image_size=4)


def test_the_ts_files_of_the_archive_are_read(tmp_path):
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Toy_{part}.ts").write_text(TS)
    splits = load(tmp_path / "Toy_TRAIN.ts")
    assert splits.train.inputs.tolist() == [[[1, 4], [2, 5], [3, 6]], [[0, 0], [1.5, 4.5], [2.5, 5.5]]]
    assert (splits.train.lengths.tolist(), splits.train.labels.tolist(), len(splits.test)) == ([3, 2], [0, 1], 2)
    assert find_dataset(DataConfig(dataset=f"file:{tmp_path}/Toy_TRAIN.ts")).opened.class_names == ["run", "walk"]


@pytest.mark.parametrize(
    "text",
    [
        "2,1,2,3\n1,4,5,6\n",
        "2\t1\t2\t3\n1\t4\t5\t6\n",
        "  2.0  1.0  2.0  3.0\n  1.0  4.0  5.0  6.0\n",
        "a,b,c,label\n1,2,3,2\n4,5,6,1\n",
        "y,1,2,3\nx,4,5,\n",  # empty cells at the end make a row shorter
    ],
)
def test_one_series_per_row_is_read_with_its_label(tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    splits = load(tmp_path / "mine.csv")
    is_shorter = text.endswith(",\n")
    assert splits.train.inputs[..., 0].tolist() == [[1, 2, 3], [0, 4, 5] if is_shorter else [4, 5, 6]]
    assert splits.train.labels.tolist() == [1, 0]
    assert not is_shorter or splits.train.lengths.tolist() == [3, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"no archive", "cannot be read"),
        ("a.txt", b"1", "must be a file .npz, .ts, .csv, .tsv"),
        ("a.npz", dict(inputs=FLOATS), "a.npz: lacks labels; must hold inputs, labels and"),
        ("a.npz", dict(inputs=FLOATS, labels=LABELS, length=LENGTHS), "a.npz: has unknown arrays length; must hold"),
        ("a.npz", dict(inputs=FLOATS, labels=LABELS, test_inputs=FLOATS), "a.npz: lacks test_labels; must hold"),
        ("a.npz", dict(inputs=FLOATS, labels=np.array([None] * 24)), "cannot be read (Object arrays cannot be loaded"),
        ("a.csv", b"one,two,three\n1,2,3\n", "the header must call one column of labels label or"),
        ("a.csv", b"1,2,,3\n2,4,5,6\n", "nan at [0, 1, 0], 1 of 6 values; must be finite in float32"),
        ("a.ts", b"@timeStamps true\n@data\n(0,1):a\n", "has time stamps"),
        ("a.ts", b"@targetLabel true\n@data\n1,2:0.5\n", "has no classes (@targetLabel true)"),
        ("a.ts", b"@data\n1,2:3:a\n", "line 2: "),
        ("a.ts", b"", "is empty"),
        ("nowhere.npz", None, "cannot be read ([Errno 2] No such file"),
    ],
)
def test_a_file_that_will_not_do_gets_one_line(tmp_path, name, content, message):
    if isinstance(content, dict):
        np.savez(tmp_path / name, **content)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with refused(DataError, message):
        load(tmp_path / name)


@pytest.mark.slow
def test_a_run_on_a_file_predicts_arrays_as_the_file_has_them(tmp_path):
    path = tmp_path / "mine.npz"
    names = np.array(["cat", "ape", "dog"])
    np.savez(path, inputs=TO_RIGHT[:, :, None], labels=names[LABELS], lengths=LENGTHS)
    fitted = aux_rnn.fit_dataset(f"file:{path}", auxiliary="none", pretrain_epochs=0, **SMALL_NETWORK)
    assert fitted.form.padding == "right"
    assert set(fitted.predict(TO_RIGHT[:, :, None], LENGTHS)) <= set(names)
    assert fitted.summary["examples"]["test"] == 0
