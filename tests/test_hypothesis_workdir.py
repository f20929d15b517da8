"""Damaged files of a run: each is read, or refused in one line that names it; none is lost.

`tests/properties.py` says how to run these tests with more examples.
"""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from properties import assert_one_line, damages, examples

from aux_rnn.config import Config, to_json
from aux_rnn.metric_writers import MetricsFile
from aux_rnn.progress import format_summary
from aux_rnn.settings import is_plain_text
from aux_rnn.workdir import Workdir, WorkdirError, read_config, read_summary

DEEP = b'{"step": ' + b"[" * 100_000
RECORDS = "".join(json.dumps({"kind": "train", "step": step, "loss": 0.5}) + "\n" for step in range(1, 9)).encode()
SUMMARY = {
    "dataset": "digits",
    "auxiliary": "none",
    "status": "complete",
    "steps": 8,
    "seconds": 1.5,
    "results": {"test": {"accuracy": 0.5}},
}
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=5,
)


@examples(100)
@given(st.one_of(st.just(to_json(Config()).encode()), st.binary(max_size=200)), damages())
@example(DEEP, lambda content: content)
def test_any_config_is_read_or_refused_and_kept(content, damage):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_bytes(damage(content))
        for use in (lambda: read_config(file.parent), lambda: open_and_adopt(file.parent)):
            try:
                use()
            except WorkdirError as error:
                assert_one_line(error, folder)
            assert file.read_bytes() == damage(content)


def open_and_adopt(path):
    workdir = Workdir(path, Config())
    try:
        workdir.adopt(Config())
    finally:
        workdir.close()


LINES = st.one_of(
    st.dictionaries(st.sampled_from(["step", "kind", "loss"]), VALUES).map(json.dumps),
    st.integers(0, 9).map(lambda step: json.dumps({"kind": "train", "step": step})),
    VALUES.map(json.dumps),
)


@examples(150)
@given(
    st.one_of(
        st.just(RECORDS),
        st.binary(max_size=100),
        st.lists(LINES, max_size=5).map(lambda lines: "".join(f"{line}\n" for line in lines).encode()),
    ),
    damages(),
    st.integers(0, 9),
)
@example(DEEP + b"\n", lambda content: content, 1)
@example(b'{"step": NaN}\n', lambda content: content, 1)
@example(b'{"step": 7}\n{"step": 1}\n', lambda content: content, 3)
def test_any_metrics_are_continued_or_refused_and_kept(content, damage, step):
    content = damage(content)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "metrics.jsonl"
        file.write_bytes(content)
        try:
            MetricsFile(file, step).close()
        except WorkdirError as error:
            assert_one_line(error, str(file))
            assert file.read_bytes() == content
        else:
            complete = [json.loads(line) for line in content.decode().replace("\r", "\n").split("\n")[:-1]]
            kept = [json.loads(line) for line in file.read_text().splitlines()]
            # As text, as NaN is not itself.
            assert str(kept) == str([record for record in complete if record["step"] <= step])


@examples(200)
@given(
    st.one_of(
        st.just(json.dumps(SUMMARY).encode()),
        st.binary(max_size=100),
        st.dictionaries(st.sampled_from(list(SUMMARY)), VALUES).map(lambda d: json.dumps({**SUMMARY, **d}).encode()),
        VALUES.map(lambda v: json.dumps({**SUMMARY, "results": {"test": {"accuracy": v, "loss": 1}}}).encode()),
    ),
    damages(),
)
@example(DEEP, lambda content: content)
@example(b'{"status": "complete"}', lambda content: content)
@example(json.dumps({**SUMMARY, "dataset": "\u1680"}).encode(), lambda content: content)
@example(json.dumps({**SUMMARY, "seconds": float("inf")}).encode(), lambda content: content)
def test_any_summary_is_shown_or_taken_for_none(content, damage):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "summary.json").write_bytes(damage(content))
        summary = read_summary(Path(folder))
        if summary is not None:
            assert is_plain_text(format_summary(summary, Path("run")).replace("\n", ""))


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
def test_a_folder_for_a_file_is_refused_or_taken_for_none(name, tmp_path):
    (tmp_path / name).mkdir()
    assert read_summary(tmp_path) is None
    if name == "config.json":
        with pytest.raises(WorkdirError) as caught:
            read_config(tmp_path)
        assert_one_line(caught.value, str(tmp_path / name))
    if name == "metrics.jsonl":
        with pytest.raises(WorkdirError) as caught:
            MetricsFile(tmp_path / name, 0)
        assert_one_line(caught.value, str(tmp_path / name))
