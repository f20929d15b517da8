"""The training loop: what it writes, exact resume, and the ways a run may end."""

import io
import json
import math
import shutil
import signal

import pytest
from faulty import read_metrics

from aux_rnn.analysis.restore import load_run
from aux_rnn.config.serialization import from_json, with_settings
from aux_rnn.datasets import DataError
from aux_rnn.storage.workdir import WorkdirError, lock, read_summary, require_same_config
from aux_rnn.training import loop as loop_lib
from aux_rnn.training import steps as steps_lib
from aux_rnn.training.loop import Loop, TrainingError
from aux_rnn.training.progress import Progress
from aux_rnn.training.train import train_and_evaluate

pytestmark = pytest.mark.usefixtures("shared_steps")
LONGER = dict(train_epochs=4, log_every_steps=3, checkpoint_every_steps=4)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Returns the folder of one run that was not interrupted, to compare others with."""
    return tmp_path_factory.mktemp("finished") / "run"


@pytest.fixture
def reference(finished, tiny, quiet):
    return train_and_evaluate(tiny, finished, quiet)  # the second time: what is already there


def test_the_summary_says_what_was_reached(reference, finished, tiny):
    assert json.loads((finished / "summary.json").read_text()) == reference
    expected = dict(status="complete", dataset="digits", auxiliary="reconstruct", steps=9)
    assert {name: reference[name] for name in expected} == expected
    assert all(0 <= reference[f"{split}_accuracy"] <= 1 for split in ("validation", "test"))
    assert len(reference["params_digest"]) == 64
    assert reference["seconds"] > 0
    assert 0 < reference["seconds_per_step"] <= reference["seconds_by_section"]["train"]
    assert 50 < reference["peak_memory_mib"] < 100_000
    assert from_json((finished / "config.json").read_text()) == tiny


def test_records_are_complete_and_in_order(reference, finished):
    records = read_metrics(finished)
    assert [(r["kind"], r["step"]) for r in records] == [
        ("train", 2), ("train", 3), ("validation", 3), ("train", 4), ("train", 6), ("validation", 6),
        ("train", 8), ("train", 9), ("validation", 9), ("test", 9),
    ]  # fmt: skip
    assert [r["phase"] for r in records[:4]] == ["pretrain", "pretrain", "pretrain", "train"]
    first, joint = records[0], records[3]
    assert all(math.isfinite(first[name]) for name in ("loss", "reconstruct_loss", "gradient_norm", "learning_rate"))
    assert "accuracy" not in first
    assert "accuracy" not in records[2], "the classifier is not trained in pretraining"
    assert {"supervised_loss", "accuracy"} <= joint.keys()
    assert records[-1]["accuracy"] == reference["test_accuracy"]


def test_curves_of_the_test_split_are_written_on_request_and_change_nothing(reference, tiny, quiet, tmp_path):
    summary = train_and_evaluate(with_settings(tiny, evaluate_test=True), tmp_path / "run", quiet)
    evaluations = [(r["kind"], r["step"]) for r in read_metrics(tmp_path / "run") if r["kind"] != "train"]
    assert evaluations == [(split, step) for step in (3, 6, 9) for split in ("validation", "test")]
    assert summary["params_digest"] == reference["params_digest"]
    assert summary["results"] == reference["results"]


def stop_before(monkeypatch, owner, name, step):
    """Sends a signal before a method is called after `step` steps of the loop, which a method of `Progress` is once."""
    method = getattr(owner, name)

    def stop(self, *args):
        if getattr(self, "step", step) == step:
            monkeypatch.setattr(owner, name, method)
            signal.raise_signal(signal.SIGTERM)
        return method(self, *args)

    monkeypatch.setattr(owner, name, stop)


@pytest.mark.parametrize(
    ("owner", "name", "step"),
    [
        (Progress, "begin", 0),
        (Loop, "evaluate_and_save", 1),  # between two records
        (Loop, "evaluate_and_save", 8),
        (Loop, "evaluate", 9),  # the last evaluation, which names the best checkpoint
    ],
)
def test_a_run_stopped_and_continued_equals_one_left_alone(
    owner, name, step, reference, finished, tiny, quiet, tmp_path, monkeypatch
):
    path, taken, advance = tmp_path / "run", [], Progress.advance
    monkeypatch.setattr(
        Progress, "advance", lambda self, phase, count: taken.append(count) or advance(self, phase, count)
    )
    stop_before(monkeypatch, owner, name, step)
    interrupted = train_and_evaluate(tiny, path, quiet)
    assert [interrupted[name] for name in ("status", "steps", "test_accuracy")] == ["interrupted", step, None]
    assert read_summary(path) == interrupted
    assert read_metrics(path) == read_metrics(finished)[: len(read_metrics(path))]
    ended = train_and_evaluate(tiny, path, quiet)
    for name in ("params_digest", "results", "best"):
        assert ended[name] == reference[name]
    assert read_metrics(path) == read_metrics(finished)
    assert sum(taken) == 9, "a step was taken twice or left out"
    for folder in (finished, path):
        assert int(load_run(folder, tiny.data, checkpoint="best")[1].step) == reference["best"]["step"]


def test_a_crash_between_record_and_checkpoint_leaves_no_gap_and_no_duplicate(
    reference, finished, tiny, quiet, tmp_path, monkeypatch
):
    save = Loop.save

    def crash(self):
        if self.step == 4:
            raise KeyError("crash")
        save(self)

    monkeypatch.setattr(Loop, "save", crash)
    with pytest.raises(KeyError):
        train_and_evaluate(tiny, tmp_path / "run", quiet)
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # what a crash leaves of a line
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "failed"
    monkeypatch.setattr(Loop, "save", save)
    assert train_and_evaluate(tiny, tmp_path / "run", quiet)["params_digest"] == reference["params_digest"]
    assert read_metrics(tmp_path / "run") == read_metrics(finished)


def test_a_complete_run_is_left_alone_wherever_its_data_is(reference, finished, tiny, quiet, tmp_path):
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.is_file() and p.name != ".lock"}
    assert train_and_evaluate(with_settings(tiny, manual_dir=str(tmp_path)), finished, quiet) == reference
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_a_completed_run_without_a_summary_gets_the_same_one(reference, finished, tiny, quiet, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/summary.json").unlink()
    again = train_and_evaluate(tiny, tmp_path / "run", quiet)
    for name in ("status", "steps", "test_accuracy", "validation_accuracy", "params_digest", "results"):
        assert again[name] == reference[name]
    assert read_metrics(tmp_path / "run") == read_metrics(finished)


def test_without_an_auxiliary_loss_there_is_no_pretraining_and_it_says_so(tiny, tmp_path):
    shown = io.StringIO()
    summary = train_and_evaluate(with_settings(tiny, auxiliary="none"), tmp_path / "run", Progress(shown))
    assert summary["steps"] == 6
    assert "no pretraining" in shown.getvalue()
    assert "  SIGTERM stops and saves" in shown.getvalue()  # without Ctrl-C, as nobody sits at a terminal
    assert {r["phase"] for r in read_metrics(tmp_path / "run")} == {"train"}


@pytest.mark.parametrize(
    ("parts", "value", "changes", "step", "checkpoint"),
    [
        # With weights near the largest float the loss of the joint training overflows, whatever the data.
        (("head",), 3e38, {}, 4, "run/checkpoints/2"),
        (("encoder", "head"), math.nan, LONGER, 1, "the last good checkpoint is none"),
    ],
)
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_evaluated(
    parts, value, changes, step, checkpoint, tiny, quiet, tmp_path, monkeypatch
):
    create = loop_lib.create_train_state

    def create_broken(config, spec, plan):
        state = create(config, spec, plan)
        broken = {part: steps_lib.jax.tree.map(lambda x: x + value, state.params[part]) for part in parts}
        return state.replace(params={**state.params, **broken})

    monkeypatch.setattr(loop_lib, "create_train_state", create_broken)
    with pytest.raises(TrainingError) as caught:
        train_and_evaluate(with_settings(tiny, **changes), tmp_path / "run", quiet)
    message = str(caught.value)
    assert message.startswith(f"step {step}: the loss or its gradient is not finite")
    assert checkpoint in message
    assert "\n" not in message
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "failed"
    assert all(record["step"] < step for record in read_metrics(tmp_path / "run"))


def test_a_finished_run_is_extended_on_request_alone(reference, finished, tiny, tmp_path, monkeypatch):
    """The earlier records stay; intervals may change; the learning rate that follows is announced."""
    path, shown, seen = tmp_path / "run", io.StringIO(), []
    shutil.copytree(finished, path)
    longer = with_settings(tiny, **LONGER)
    with pytest.raises(WorkdirError, match=r"other settings \(train_epochs: 2 -> 4\).* or add extend=True to continue"):
        train_and_evaluate(longer, path, Progress(shown))
    with pytest.raises(WorkdirError, match=r"other settings \(auxiliary: reconstruct -> none, seed: 0 -> 1\)"):
        train_and_evaluate(with_settings(longer, seed=1, auxiliary="none"), path, Progress(shown), extends=True)
    assert read_metrics(path) == read_metrics(finished)
    monkeypatch.setattr(Progress, "begin", lambda *args: seen.append(read_summary(path)["status"]))
    summary = train_and_evaluate(longer, path, Progress(shown), extends=True)
    assert seen == ["interrupted"], "a run that is extended is no longer complete"
    assert "extended from 2 to 4 epochs of training" in shown.getvalue()
    assert "after 2 epochs it is 0.0005 instead of 0.000125" in shown.getvalue()
    assert (summary["status"], summary["steps"]) == ("complete", 15)
    before, after = (read_metrics(folder) for folder in (finished, path))
    assert after[: len(before)] == before
    rates = {r["step"]: r["learning_rate"] for r in after if r["kind"] == "train"}
    assert [rates[step] for step in (9, 12, 15)] == pytest.approx([0.000125, 0.00025, 0.000125])
    assert from_json((path / "config.json").read_text()) == longer
    again = train_and_evaluate(with_settings(longer, log_every_steps=7), path, Progress(shown), extends=True)
    assert again == summary


def test_a_run_that_never_began_leaves_the_folder_free(tiny, quiet, tmp_path):
    blocked = with_settings(tiny, dataset="mnist", data_dir=str(tmp_path / "file/data"))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        train_and_evaluate(blocked, tmp_path / "run", quiet)
    lock(tmp_path / "run").close()
    require_same_config(tmp_path / "run", with_settings(tiny, seed=1))
