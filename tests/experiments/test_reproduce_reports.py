"""Records, intervals, tables and figures of reproduce.py: those in results/, and made-up ones."""

import json
import math
import shutil
from pathlib import Path

import pytest
import reproduce
from confidence import Estimate, estimate_difference, estimate_mean
from machine import code_version
from reproduction import presets
from reproduction.figures import mean_curve, place_truncations
from reproduction.grid import EXPERIMENTS, flatten, make_grid
from reproduction.paper import TABLE2, paper_accuracy
from reproduction.records import RecordError, append_line, make_record, read_history, read_records
from reproduction.report import save_report

from aux_rnn.system.machine import describe_machine, processor_name

RESULTS = Path(__file__).parents[2] / "results"
MACHINE = dict(cpu="Abacus 3", cores=1, memory_gib=16, os="Debian, x86_64", devices="1 x cpu")


@pytest.mark.parametrize("file", sorted(set(RESULTS.glob("*/*.jsonl")) - set(RESULTS.glob("speed/*"))), ids=str)
def test_committed_records_give_the_committed_pages(file, tmp_path, capsys):
    folder = tmp_path / file.parent.name
    folder.mkdir()
    for copied in (file, file.with_suffix(".remarks.md")):
        shutil.copy(copied, folder)
    arguments = [file.parent.name, f"--preset={file.stem}", f"--results={tmp_path}", f"--runs={tmp_path}/runs"]
    assert reproduce.main(["reproduce.py", *arguments, "--report", "--seeds=1"]) == 0
    for ending in (".csv", ".md"):
        assert (folder / file.name).with_suffix(ending).read_text() == file.with_suffix(ending).read_text()
    for ending in (".png", ".svg"):
        assert (folder / file.name).with_suffix(ending).stat().st_size > 5_000
    assert not (tmp_path / "runs").exists()


def make_preset(*names):
    small = dict(segment_length=8, supervised_truncation=4, auxiliary_truncation=4, image_size=8)
    sets = {name: dict(dataset=name, **small) for name in names}
    return presets.Preset(data=dict.fromkeys(EXPERIMENTS, sets), truncations=(0, 1, 4, 16, "full"))


@pytest.fixture(autouse=True)
def made_up_preset(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", make_preset("mnist", "cifar10"))


def make_up(experiment, run, accuracy=0.8, **values):
    """Returns a record such as a run leaves."""
    gain = {"reconstruct_memory_gain": 0.25} if run.config.model.auxiliary == "reconstruct" else {}
    history = [
        dict(step=1, epoch=1.0, phase="pretrain", train_reconstruct_loss=0.5, test_reconstruct_loss=0.6),
        dict(step=2, epoch=2.0, phase="train", train_accuracy=0.5, test_accuracy=0.25, test_supervised_loss=2.0),
        dict(step=3, epoch=3.0, phase="train", train_accuracy=0.75, test_accuracy=0.5, test_supervised_loss=1.0),
    ]
    return {
        **dict(experiment=experiment, preset="tiny", seed=run.seed, digest=run.digest, settings=run.settings),
        **dict(config=flatten(run.config), results={"test": {"accuracy": accuracy, **gain}}, history=history),
        **dict(test_accuracy=accuracy, validation_accuracy=accuracy, parameters=1234, steps=3, seconds=61.0),
        **dict(examples={"train": 10, "test": 5}, seconds_per_step=0.5, peak_memory_mib=512.0, machine=MACHINE),
        **dict(commit="abcdef123456", date="2026-02-03T04:05:06+00:00"),
        **values,
    }


def write(folder, *lines, name="tiny.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def read(folder, grid):
    return read_records(folder, "table2", "tiny", grid)


def test_means_have_the_interval_of_the_t_distribution():
    # 1, 2, 3: standard deviation 1, t(0.975; 2) = 4.302653.
    mean, half = estimate_mean([1, 2, 3])
    assert (mean, half) == (2, pytest.approx(4.302653 / math.sqrt(3), rel=1e-6))
    assert estimate_mean([5.0, 5.0]) == (5.0, 0.0)
    assert estimate_mean([5.0]).format() == "5.0"
    assert estimate_mean([]).format() == "-"
    assert Estimate(1.25, 0.5).format(2, "+") == "+1.25 ± 0.50"


def test_differences_have_the_interval_of_welch():
    # Variances 1 and 4 of three values each: 1/3 + 4/3 = 5/3; (5/3)^2 / ((1/9 + 16/9) / 2) = 2.941176 degrees of
    # freedom; t(0.975; 2.941176) = 3.22, from a table's 3.182 (3) and 4.303 (2), interpolated on 1 / freedom.
    difference, half = estimate_difference([1, 2, 3], [2, 4, 6])
    assert difference == -2
    assert half / math.sqrt(5 / 3) == pytest.approx(3.220, abs=0.03)
    # Equal spreads and sizes: the textbook's two-sample t interval, t(0.975; 4) = 2.776445.
    assert estimate_difference([1, 2, 3], [4, 5, 6])[1] == pytest.approx(2.776445 * math.sqrt(2 / 3), rel=1e-6)
    for pair in (([1.0], [4.0, 5.0]), ([1.0, 1.0], [4.0, 4.0])):
        assert math.isnan(estimate_difference(*pair).half)


def test_the_newest_record_of_a_run_counts_and_so_do_further_seeds(tmp_path):
    grid = make_grid("table2", "tiny", 9)
    first, last = grid[0], grid[-1]
    write(tmp_path, make_up("table2", first, 0.6, date="2026-03-01"), make_up("table2", last))
    write(tmp_path, make_up("table2", first, 0.5), name="tiny.shard-1-of-2.jsonl")
    found = read(tmp_path, make_grid("table2", "tiny", 1))
    assert {d: r["test_accuracy"] for d, r in found.items()} == {first.digest: 0.6, last.digest: 0.8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{half a li", r"damaged \("),
        (lambda r: "[]", r"damaged \("),
        (lambda r: "\ud800", r"damaged \("),
        (lambda r: {k: v for k, v in r.items() if k != "seconds"}, r"damaged \(KeyError: 'seconds'"),
        (lambda r: {**r, "test_accuracy": None}, r"damaged \("),
        (lambda r: {**r, "experiment": "text"}, "belongs to the experiment 'text' and not to 'table2'"),
        (lambda r: {**r, "preset": "paper"}, "belongs to the preset 'paper' and not to 'tiny'"),
        (lambda r: {**r, "digest": "0" * 64}, "settings and digest do not match"),
        (lambda r: {**r, "settings": {}}, "settings and digest do not match"),
        (lambda r: {**r, "config": {**r["config"], "hidden_size": 3}}, "the defaults of hidden_size have changed"),
        (
            lambda r: {**r, "examples": {"train": 4, "test": 5}},
            "has other examples than another record of the same row",
        ),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_and_nothing_is_overwritten(change, message, tmp_path):
    first, second = (run for run in make_grid("table2", "tiny", 2) if run.name == "mnist lstm truncated")
    changed = change(make_up("table2", second))
    lines = [changed if isinstance(changed, str) else json.dumps(changed)]
    content = "\n".join([json.dumps(make_up("table2", first)), *lines, ""]).encode(errors="surrogatepass")
    (tmp_path / "tiny.jsonl").write_bytes(content)
    with pytest.raises(RecordError, match=rf"tiny.jsonl, line 2: .*{message}.*; move the file away, or use another"):
        read(tmp_path, [first, second])
    assert (tmp_path / "tiny.jsonl").read_bytes() == content


def test_settings_that_the_grid_lacks_are_refused_and_new_ones_change_nothing(tmp_path, monkeypatch):
    grid = make_grid("table2", "tiny", 1)
    record = make_up("table2", grid[0])
    del record["config"]["evaluate_test"]
    write(tmp_path, record | dict(config=record["config"] | dict(removed_setting=1)))
    assert list(read(tmp_path, grid)) == [grid[0].digest]
    with pytest.raises(RecordError, match="line 1: its settings are not in the present grid"):
        read(tmp_path, make_grid("table2", "small", 1))


def test_a_record_is_made_from_the_files_of_a_run(tmp_path):
    run = make_grid("table2", "tiny", 1)[2]
    results = dict(test=dict(accuracy=0.5, reconstruct_memory_gain=0.1), validation=dict(accuracy=0.6))
    summary = dict(test_accuracy=0.5, validation_accuracy=0.6, results=results, parameters=7, steps=4, seconds=8.0)
    machine = {name: value for name, value in MACHINE.items() if name != "devices"}
    summary |= dict(machine=machine, devices="1 x cpu", examples={"test": 5}, params_digest="f" * 64)
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
    record = make_record("table2", "tiny", run, tmp_path)
    assert (record["data"], record["model"], record["truncation"]) == (run.data, run.model, run.truncation)
    assert (record["machine"], record["commit"]) == (MACHINE, "abc, def")
    validation = dict(validation_accuracy=0.3, validation_supervised_loss=1.5)
    values = dict(train_loss=2.0, train_accuracy=0.4, test_accuracy=0.25, test_supervised_loss=1.75)
    assert record["history"] == [
        dict(step=2, epoch=1.0, phase="train", **validation, **values),
        dict(step=4, epoch=2.0, phase="train", test_accuracy=0.5),
    ]
    assert record["history"] == read_history(tmp_path / "metrics.jsonl")
    write(tmp_path, record)
    assert read(tmp_path, [run]) == {run.digest: json.loads(json.dumps(record))}
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(RecordError, match="the complete run cannot be read"):
        make_record("table2", "tiny", run, tmp_path)


def test_the_paper_is_quoted_where_it_has_a_value():
    assert len(TABLE2) == 21
    assert paper_accuracy("table2", "small", "cifar10", "r-lstm", "truncated") == 65.9
    assert paper_accuracy("bptt", "paper", "cifar10", "lstm", "300") == 49.0
    assert paper_accuracy("bptt", "paper", "cifar10", "lstm", "full") == 58.8
    # The auxiliary loss remains truncated there, unlike in the paper's row.
    assert paper_accuracy("bptt", "paper", "cifar10", "r-lstm", "full") is None
    assert paper_accuracy("bptt", "small", "cifar10", "lstm", "full") is None
    assert paper_accuracy("table2", "paper", "mnist", "both", "full") is None


def test_a_page_has_values_differences_and_what_was_not_run(tmp_path):
    grid = make_grid("table2", "tiny", 3)
    scores = {"lstm": 0.5, "r-lstm": 0.7, "p-lstm": 0.505, "both": 0.6, "transformer": 0.4}
    rows = [run for run in grid if run.data == "mnist" and run.name != "mnist both full"]
    found = {run.digest: make_up("table2", run, scores[run.model] + 0.01 * (run.seed - 1)) for run in rows}
    (tmp_path / "tiny.remarks.md").write_text("Seen by hand.\n")
    text = save_report(tmp_path, "table2", "tiny", grid, found).read_text()
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "python experiments/reproduce.py table2 --preset=tiny --seeds=3" in lines
    # Standard deviation 1 point on both sides: 2.776445 x sqrt(2 / 3) = 2.27.
    assert "| mnist, truncated | r-LSTM minus LSTM | +20.0 ± 2.3 |" in lines
    assert "| mnist | Transformer minus LSTM, full | -10.0 ± 2.3 |" in lines
    row = "| mnist | r-LSTM, truncated | 70.0 ± 2.5 | 3 | 96.4 | -26.4 | 0.250 ± 0.000 | 1,234 | 61 | 0.5 | 512 |"
    assert row in lines
    assert "- Not run: mnist (r- and p-LSTM, full), cifar10." in lines
    assert "- Examples of mnist: 10 train, 5 test." in lines
    assert any(line.startswith("- Measured 2026-02-03 on Abacus 3, 1 core per run, 16 GiB") for line in lines)
    assert "Seen by hand." in lines
    csv = (tmp_path / "tiny.csv").read_text().splitlines()
    assert csv[3].startswith("table2,tiny,mnist,r-lstm,truncated,64,0 1 2,70.0,2.48414,96.4,-26.4,0.25,0.0,70.0,61.0,")
    assert csv[8] == "table2,tiny,mnist,both,full,64,,,,,,,,,,,,,,,,"


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_reports_and_figures_are_the_same_bytes_every_time(experiment, tmp_path):
    grid = make_grid(experiment, "tiny", 2)
    found = {run.digest: make_up(experiment, run, 0.5 + 0.01 * run.seed) for run in grid[:-1]}
    for folder in ("a", "b"):
        save_report(tmp_path / folder, experiment, "tiny", grid, found)
    for ending in (".md", ".csv", ".png", ".svg"):
        first, second = ((tmp_path / folder / f"tiny{ending}").read_bytes() for folder in ("a", "b"))
        assert first == second, ending
    assert "<text" in (tmp_path / "a/tiny.svg").read_text()


def test_a_page_without_records_says_so(tmp_path):
    page = save_report(tmp_path, "text", "tiny", make_grid("text", "tiny", 1), {})
    assert "There are no results yet." in page.read_text()
    assert {file.name for file in tmp_path.iterdir()} == {"tiny.md", "tiny.csv"}


def test_curves_count_epochs_from_the_start_of_joint_training():
    run = make_grid("curves", "tiny", 1)[1]
    histories = [make_up("curves", run)["history"]] * 2
    assert {epoch: e.mean for epoch, e in mean_curve(histories, ["test_accuracy"]).items()} == {1.0: 0.25, 2.0: 0.5}
    auxiliary = mean_curve(histories, ["test_reconstruct_loss", "test_predict_loss"])
    assert {epoch: e.mean for epoch, e in auxiliary.items()} == {0.0: 0.6}
    assert mean_curve([], ["test_accuracy"]) == {}


def test_no_gradient_and_no_truncation_are_at_the_ends():
    places = place_truncations(["full", "0", "1", "10", "100"])
    assert sorted(places, key=places.__getitem__) == ["0", "1", "10", "100", "full"]
    assert places["10"] - places["1"] == pytest.approx(places["100"] - places["10"])
    assert place_truncations(["0", "full"]) == {"0": 0.0, "full": 1.0}


def test_machines_are_described_without_names(tmp_path):
    assert set(describe_machine(2)) == {"cpu", "cores", "memory_gib", "os"}
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Abacus 3\n")
    assert processor_name(tmp_path / "cpuinfo") == "Abacus 3"
    assert processor_name(tmp_path / "none")
    assert code_version(tmp_path) == "unknown"
