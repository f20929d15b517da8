"""Records, intervals, tables and figures of reproduce.py: those in results/, and made-up ones."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import pytest
import reproduce
from cli.environment import code_version
from reproduction import presets
from reproduction.figures import mean_curve
from reproduction.grid import digest_of, make_grid
from reproduction.records import RecordError, append_line, make_record, read_records
from reproduction.report import estimate_difference, save_report
from summaries import estimate_means, format_estimate

from aux_rnn.datasets import sequence_spec
from aux_rnn.model.flops import count_training_step
from aux_rnn.system.machine import describe_machine, processor_name

RESULTS = Path(__file__).parents[3] / "results"
MACHINE = dict(cpu="Abacus 3", cores=1, memory_gib=16, os="Debian, x86_64", devices="1 x cpu")


@pytest.mark.parametrize("file", [f for f in sorted(RESULTS.glob("*/*.jsonl")) if f.stem in presets.PRESETS], ids=str)
def test_committed_records_give_the_committed_pages(file, tmp_path, capsys, monkeypatch):
    """Figures, which take longest, are drawn once of each kind; that of `compute` in a test of its own."""
    folder = tmp_path / file.parent.name
    folder.mkdir()
    is_drawn = file.stem == "digits" and folder.name in ("table2", "lengths", "bptt", "curves")
    if not is_drawn:
        monkeypatch.setattr("reproduction.report.save_figure", lambda *_: None)
    monkeypatch.setattr("aux_rnn.plots.style.PNG_DPI", 50)
    for copied in (file, file.with_suffix(".remarks.md")):
        shutil.copy(copied, folder)
    arguments = [file.parent.name, f"--preset={file.stem}", f"--results={tmp_path}", f"--runs={tmp_path}/runs"]
    assert reproduce.main(["reproduce.py", *arguments, "--report", "--seeds=1"]) == 0
    for ending in (".csv", ".md"):
        assert (folder / file.name).with_suffix(ending).read_text() == file.with_suffix(ending).read_text()
    for ending in (".png", ".svg") * is_drawn:
        assert (folder / file.name).with_suffix(ending).stat().st_size > 1_000
    assert not is_drawn or "\\math" not in (folder / file.name).with_suffix(".svg").read_text(), "an unparsed formula"
    assert not (tmp_path / "runs").exists()
    records = read_records(file.parent, file.stem, make_grid(file.parent.name, file.stem, 1))
    written = {json.loads(line)["digest"] for line in file.read_text().splitlines()}
    assert set(records["config"].map(digest_of)) == written, "folders of runs have other names than before"


RECORDS = [json.loads(line) for line in (RESULTS / "table2/digits.jsonl").read_text().splitlines()]


def write(folder, *lines, name="digits.jsonl"):
    (folder / name).write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def read(folder):
    return read_records(folder, "digits", make_grid("table2", "digits", 1))


def test_means_have_the_interval_of_the_t_distribution():
    # 1, 2, 3: standard deviation 1, t(0.975; 2) = 4.302653.
    values = pd.Series([1.0, 2.0, 3.0, 5.0, 5.0, 5.0, math.nan], ["several"] * 3 + ["equal"] * 2 + ["one", "none"])
    table = estimate_means(values.groupby(level=0))
    assert list(table.loc["several"]) == [2, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)]
    assert list(table.loc["equal"]) == [5.0, 0.0]
    assert format_estimate(*table.loc["one"]) == "5.0"
    assert format_estimate(*table.loc["none"]) == "-"
    assert format_estimate(1.25, 0.5, "+.2f") == "+1.25 ± 0.50"


def test_differences_have_the_interval_of_welch():
    # Variances 1 and 4 of three values each: 1/3 + 4/3 = 5/3; (5/3)^2 / ((1/9 + 16/9) / 2) = 2.941176 degrees of
    # freedom; t(0.975; 2.941176) = 3.22, from a table's 3.182 (3) and 4.303 (2), interpolated on 1 / freedom.
    difference, half = estimate_difference(pd.Series([1, 2, 3]), pd.Series([2, 4, 6]))
    assert difference == -2
    assert half / math.sqrt(5 / 3) == pytest.approx(3.220, abs=0.03)
    # Equal spreads and sizes: the textbook's two-sample t interval, t(0.975; 4) = 2.776445.
    _, half = estimate_difference(pd.Series([1, 2, 3]), pd.Series([4, 5, 6]))
    assert half == pytest.approx(2.776445 * math.sqrt(2 / 3), rel=1e-6)
    assert math.isnan(estimate_difference(pd.Series([1.0, 1.0]), pd.Series([4.0, 4.0]))[1])


def test_the_newest_record_of_a_run_counts_and_so_do_further_seeds(tmp_path):
    first, last = RECORDS[0], RECORDS[-1]
    assert last["seed"] > 0
    write(tmp_path, {**first, "test_accuracy": 0.6, "date": "2999-01-01"}, last)
    write(tmp_path, first, name="digits.shard-1-of-2.jsonl")
    found = read(tmp_path)
    assert list(found["config"].map(digest_of)) == [first["digest"], last["digest"]]
    assert list(found["test_accuracy"]) == [60.0, 100 * last["test_accuracy"]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: "{half a li", "JSONDecodeError"),
        (lambda r: "[]", "TypeError"),
        (lambda r: {k: v for k, v in r.items() if k != "machine"}, "machine"),
        (lambda r: {k: v for k, v in r.items() if k != "examples"}, "examples"),
        (lambda r: {**r, "test_accuracy": None}, "TypeError"),
        (lambda r: {**r, "config": {**r["config"], "hidden_size": 3}}, "'hidden_size: 64 -> 3'"),
        (lambda r: {**r, "config": {**r["config"], "hidden_size": "many"}}, "hidden_size=many: must be an integer"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused(change, reason, tmp_path):
    write(tmp_path, RECORDS[0], change(RECORDS[1]))
    with pytest.raises(RecordError, match=rf"digits.jsonl, line 2: no record of .*{reason}.*; move the file away, or"):
        read(tmp_path)


def test_settings_that_are_new_or_removed_since_a_record_change_nothing(tmp_path):
    config = {name: value for name, value in RECORDS[0]["config"].items() if name != "evaluate_test"}
    write(tmp_path, {**RECORDS[0], "config": {**config, "removed_setting": 1}})
    assert list(read(tmp_path)["config"].map(digest_of)) == [RECORDS[0]["digest"]]


def test_a_record_is_made_from_the_files_of_a_run(tmp_path):
    run = next(make_grid("table2", "digits", 1)[2:].assign(workdir=tmp_path).itertuples())
    results = dict(test=dict(accuracy=0.5, reconstruct_memory_gain=0.1), validation=dict(accuracy=0.6))
    summary = dict(test_accuracy=0.5, validation_accuracy=0.6, results=results, parameters=7, steps=4, seconds=8.0)
    machine = {name: value for name, value in MACHINE.items() if name != "devices"}
    summary |= dict(machine=machine, devices="1 x cpu", examples={"test": 5})
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    metrics = [
        dict(kind="train", step=1, phase="train", epoch=0.5, loss=3.0, accuracy=0.2, gradient_norm=9.0, seconds=1.0),
        dict(kind="train", step=2, phase="train", epoch=1.0, loss=2.0, accuracy=0.4, seconds=2.0),
        dict(kind="validation", step=2, phase="train", epoch=1.0, accuracy=0.3, supervised_loss=1.5, seconds=2.0),
        dict(kind="test", step=2, phase="train", epoch=1.0, accuracy=0.25, supervised_loss=1.75, seconds=2.0),
        dict(kind="test", step=4, phase="train", epoch=2.0, accuracy=0.5, seconds=2.0),
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    for commit in ("abc", "abc", "def"):
        append_line(tmp_path / "commits.txt", commit)
    record = make_record("table2", "digits", run)
    assert (record["data"], record["model"], record["truncation"]) == (run.data, run.model, run.truncation)
    assert (record["machine"], record["commit"]) == (MACHINE, "abc, def")
    validation = dict(validation_accuracy=0.3, validation_supervised_loss=1.5)
    values = dict(train_loss=2.0, train_accuracy=0.4, test_accuracy=0.25, test_supervised_loss=1.75)
    step = 2e-12 * count_training_step(run.config, sequence_spec(run.config.data))
    assert record["history"] == [
        dict(step=2, epoch=1.0, phase="train", seconds=2.0, teraflop=2 * step, **validation, **values),
        dict(step=4, epoch=2.0, phase="train", seconds=2.0, teraflop=4 * step, test_accuracy=0.5),
    ]
    write(tmp_path, record)
    (shown,) = read(tmp_path).itertuples()
    assert (shown.config, shown.test_accuracy, shown.reconstruct_memory_gain) == (run.config, 50.0, 0.1)
    assert shown.history == record["history"]


def test_reports_and_figures_are_the_same_bytes_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr("aux_rnn.plots.style.PNG_DPI", 50)
    grid = make_grid("compute", "full", 3)
    found = read_records(RESULTS / "compute", "full", grid)
    first, second = (save_report(tmp_path / folder, "compute", "full", grid, found).parent for folder in ("a", "b"))
    for ending in (".md", ".csv", ".png", ".svg"):
        assert (first / f"full{ending}").read_bytes() == (second / f"full{ending}").read_bytes(), ending
    assert "<text" in (first / "full.svg").read_text()


def test_a_page_without_records_says_so(tmp_path):
    page = save_report(tmp_path, "text", "digits", make_grid("text", "digits", 1), pd.DataFrame())
    assert page.read_text() == "# Text by character: preset digits\n\nThere are no results yet.\n"
    assert list(tmp_path.iterdir()) == [page]


def test_curves_count_epochs_from_the_start_of_joint_training():
    history = [
        dict(epoch=1.0, phase="pretrain", test_reconstruct_loss=0.6),
        dict(epoch=2.0, phase="train", test_accuracy=0.25),
        dict(epoch=3.0, phase="train", test_accuracy=0.5),
    ]
    histories = pd.Series([history] * 2)
    assert mean_curve(histories, "test", ["accuracy"])["mean"].to_dict() == {1.0: 0.25, 2.0: 0.5}
    assert mean_curve(histories, "test", ["reconstruct_loss", "predict_loss"])["mean"].to_dict() == {0.0: 0.6}


def test_machines_are_described_without_names(tmp_path):
    assert set(describe_machine(2)) == {"cpu", "cores", "memory_gib", "os"}
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Abacus 3\n")
    assert processor_name(tmp_path / "cpuinfo") == "Abacus 3"
    assert processor_name(tmp_path / "none")
    assert code_version(tmp_path) == "unknown"
