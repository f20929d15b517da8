"""The files of a run: its folder belongs to one run, and a damaged file is read or refused in one line, never lost.

`tests/properties.py` describes how to run the properties with more examples.
"""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from properties import assert_one_line, damages, examples, refused

from aux_rnn.config.serialization import to_json
from aux_rnn.config.settings import Config
from aux_rnn.storage.metrics_file import MetricsFile
from aux_rnn.storage.workdir import WorkdirError, read_config, read_summary, require_same_config, write_config
from aux_rnn.training.outputs import RunOutputs

DEEP = b'{"step": ' + b"[" * 100_000
RECORDS = "".join(json.dumps({"kind": "train", "step": step, "loss": 0.5}) + "\n" for step in range(1, 9)).encode()
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


def test_a_folder_is_used_by_one_run_at_a_time(tmp_path):
    first = RunOutputs(tmp_path, Config())
    with pytest.raises(WorkdirError, match="another run is using it"):
        RunOutputs(tmp_path, Config())
    first.close()
    RunOutputs(tmp_path, Config()).close()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run", "", "/run: cannot be written"),
        ("run/config.json", '{"dataset": "digits", "colour": 3}', "not a configuration of this version (colour: no"),
        ("run/config.json/folder", "", "config.json: not a configuration of this version ([Errno 21] Is a directory"),
        ("run/checkpoints/2", "", "has checkpoints but no config.json"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_and_left_as_it_is(name, content, message, tmp_path):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    with refused(WorkdirError, str(tmp_path), message):
        RunOutputs(tmp_path / "run", Config())
    assert (tmp_path / name).read_text() == content


@examples(100)
@given(st.one_of(st.just(to_json(Config()).encode()), st.binary(max_size=200)), damages())
@example(DEEP, lambda content: content)
def test_any_config_is_read_or_refused_and_kept(content, damage):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_bytes(damage(content))
        try:
            require_same_config(file.parent, Config())
        except WorkdirError as error:
            assert_one_line(error, folder)
            assert file.read_bytes() == damage(content)
        else:  # Equal settings, or other intervals of records and checkpoints, which replace the old ones.
            write_config(file.parent, Config())
            assert read_config(file.parent) == Config()


@examples(150)
@given(st.one_of(st.just(RECORDS), st.binary(max_size=100)), damages(), st.integers(0, 9))
@example(DEEP + b"\n", lambda content: content, 1)
@example(b'{"step": NaN}\n', lambda content: content, 1)
@example(b'{"step": 7}\n{"step": 1}\n', lambda content: content, 3)
@example(RECORDS, lambda content: content[:-3], 7)  # a crash leaves a part of a line
@example(RECORDS, lambda content: content, 9)
def test_any_metrics_are_continued_or_refused_and_kept(content, damage, count):
    content = damage(content)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "metrics.jsonl"
        file.write_bytes(content)
        try:
            MetricsFile(file, count).close()
        except WorkdirError as error:
            assert_one_line(error, str(file))
            assert file.read_bytes() == content
        else:
            complete = content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")[:-1]
            assert len(complete) >= count, "records that a checkpoint covers are missing"
            assert file.read_text().splitlines() == complete[:count]


def test_a_damaged_summary_is_ignored(tmp_path):
    for content in (b"", b"{", b"[]", b"\xff", b'{"status": "complete"}'):
        (tmp_path / "summary.json").write_bytes(content)
        assert read_summary(tmp_path) is None
    assert read_summary(tmp_path / "summary.json") is None
