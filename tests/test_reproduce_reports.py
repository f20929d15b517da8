"""Records, statistics, tables, words and figures of reproduce.py, from made-up results."""

import csv
import io
import json
import math

import pytest
from machine import code_version
from reproduction import presets, records
from reproduction.curves import mean_curve
from reproduction.figures import place_truncations
from reproduction.grids import make_grid
from reproduction.options import parse_options
from reproduction.paper import TABLE2, paper_accuracy
from reproduction.records import RecordError, make_record, put_record, read_history, read_records
from reproduction.report import format_report, write_report
from reproduction.rows import make_lines
from reproduction.session import Session
from reproduction.statistics import estimate_difference, estimate_mean

from aux_rnn.config import to_flat
from aux_rnn.machine import describe_machine, processor_name

MACHINE = dict(cpu="Abacus 3", cores=1, memory_gib=16, os="Debian, x86_64", devices="1 x cpu")


def make_preset(data):
    return presets.Preset(
        settings=dict(segment_length=8, supervised_truncation=4, auxiliary_truncation=4, image_size=8),
        models={},
        data=dict.fromkeys(presets.EXPERIMENTS, data),
        ablations={},
        truncations=(0, 1, 4, 16, "full"),
        longest={"transformer": 40},
    )


@pytest.fixture(autouse=True)
def made_up_presets(monkeypatch):
    names = ("mnist", "cifar10")
    monkeypatch.setitem(presets.PRESETS, "small", make_preset({name: dict(dataset=name) for name in names}))
    sides = {f"digits-{side}": dict(dataset="digits", image_size=side) for side in (4, 6, 8)}
    monkeypatch.setitem(presets.PRESETS, "digits", make_preset(sides))


def make_up(experiment, preset, cell, accuracy=0.8, **values):
    """A record as a run would have left it."""
    gain = {"reconstruct_memory_gain": 0.25} if cell.config.model.auxiliary == "reconstruct" else {}
    history = [
        dict(step=1, epoch=1.0, phase="pretrain", train_reconstruct_loss=0.5, test_reconstruct_loss=0.6),
        dict(step=2, epoch=2.0, phase="train", train_accuracy=0.5, test_accuracy=0.25, test_supervised_loss=2.0),
        dict(step=3, epoch=3.0, phase="train", train_accuracy=0.75, test_accuracy=0.5, test_supervised_loss=1.0),
    ]
    return {
        "experiment": experiment,
        "preset": preset,
        "seed": cell.seed,
        "digest": cell.digest,
        "settings": cell.settings,
        "config": json.loads(json.dumps(to_flat(cell.config))),
        "results": {"test": {"accuracy": accuracy, **gain}},
        "test_accuracy": accuracy,
        "validation_accuracy": accuracy,
        "parameters": 1234,
        "examples": {"train": 10, "validation": 2, "test": 5},
        "steps": 3,
        "seconds": 61.0,
        "seconds_per_step": 0.5 * cell.spec.length,
        "peak_memory_mib": 512.0,
        "history": history,
        "machine": MACHINE,
        "commit": "abcdef123456",
        "date": "2026-02-03T04:05:06+00:00",
        **values,
    }


def write(folder, *lines, name="small.jsonl"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


def read(folder, cells, experiment="table2", preset="small"):
    return read_records(folder, experiment, preset, {cell.kin for cell in cells})


def test_means_have_the_interval_of_the_t_distribution():
    # 1, 2, 3: standard deviation 1, t(0.975; 2) = 4.302653.
    mean, half = estimate_mean([1, 2, 3])
    assert mean == 2
    assert half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert estimate_mean([5.0]) == (5.0, None)
    assert estimate_mean([5.0, 5.0]) == (5.0, 0.0)


def test_differences_have_welchs_interval():
    # Variances 1 and 4 of three values each: 1/3 + 4/3 = 5/3; (5/3)^2 / ((1/9 + 16/9) / 2) = 2.941176 degrees of
    # freedom; t(0.975; 2.941176) = 3.22, from a table's 3.182 (3) and 4.303 (2), interpolated on 1 / freedom.
    difference, half = estimate_difference([1, 2, 3], [2, 4, 6])
    assert difference == -2
    assert half / math.sqrt(5 / 3) == pytest.approx(3.220, abs=0.03)
    # Equal spreads and sizes: the textbook's two-sample t interval, t(0.975; 4) = 2.776445.
    assert estimate_difference([1, 2, 3], [4, 5, 6])[1] == pytest.approx(2.776445 * math.sqrt(2 / 3), rel=1e-6)
    assert estimate_difference([1.0], [4.0, 5.0]) == (-3.5, None)
    assert estimate_difference([1.0, 1.0], [4.0, 4.0]) == (-3.0, 0.0)


def test_of_two_records_of_one_run_the_newest_counts(tmp_path):
    cells = make_grid("table2", "small", 2)
    old, new = make_up("table2", "small", cells[0], 0.5), make_up("table2", "small", cells[0], 0.6, date="2026-03-01")
    write(tmp_path, new, make_up("table2", "small", cells[1]))
    write(tmp_path, old, name="small.shard-1-of-2.jsonl")
    found = read(tmp_path, cells)
    assert {d: r["test_accuracy"] for d, r in found.items()} == {cells[0].digest: 0.6, cells[1].digest: 0.8}


def test_a_record_is_put_in_place_of_an_older_one(tmp_path):
    first, second = make_grid("table2", "small", 1)[:2]
    for cell, accuracy in ((first, 0.1), (second, 0.2), (first, 0.3)):
        put_record(tmp_path / "new/small.jsonl", make_up("table2", "small", cell, accuracy))
    lines = (tmp_path / "new/small.jsonl").read_text().splitlines()
    assert [json.loads(line)["test_accuracy"] for line in lines] == [0.2, 0.3]
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["small.jsonl"]


def test_seeds_beyond_those_asked_for_still_count(tmp_path):
    many = make_grid("table2", "small", 9)
    write(tmp_path, make_up("table2", "small", many[-1]))
    assert list(read(tmp_path, make_grid("table2", "small", 1))) == [many[-1].digest]


def spoil(record, **values):
    return {**record, **values}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: "{half a li", r"damaged \("),
        (lambda r: "[]", "damaged"),
        (lambda r: {k: v for k, v in r.items() if k != "seconds"}, "damaged \\('seconds' is missing"),
        (lambda r: spoil(r, test_accuracy=None), "damaged \\('test_accuracy'"),
        (lambda r: spoil(r, experiment="text"), "belongs to the experiment 'text' and not to 'table2'"),
        (lambda r: spoil(r, preset="paper"), "belongs to the preset 'paper' and not to 'small'"),
        (lambda r: spoil(r, digest="0" * 64), "settings and digest do not belong together"),
        (lambda r: spoil(r, settings={}), "settings and digest do not belong together"),
        (lambda r: spoil(r, config={**r["config"], "hidden_size": 3}), "do not belong together, or defaults"),
        (lambda r: spoil(r, config={**r["config"], "colour": 3}), "settings of another version .--colour"),
    ],
)
def test_a_line_that_cannot_be_used_is_refused_and_nothing_overwritten(change, message, tmp_path):
    cells = make_grid("table2", "small", 1)
    write(tmp_path, make_up("table2", "small", cells[0]), change(make_up("table2", "small", cells[1])))
    before = (tmp_path / "small.jsonl").read_text()
    with pytest.raises(RecordError, match=rf"small.jsonl, line 2: .*{message}.*; move the file away, or name another"):
        read(tmp_path, cells)
    assert (tmp_path / "small.jsonl").read_text() == before


def test_a_record_of_other_settings_belongs_to_no_cell(tmp_path, monkeypatch):
    old = make_grid("table2", "small", 1)
    write(tmp_path, make_up("table2", "small", old[0]))
    preset = presets.PRESETS["small"]
    monkeypatch.setitem(presets.PRESETS, "small", make_preset({"mnist": dict(dataset="mnist", batch_size=7)}))
    with pytest.raises(RecordError, match="line 1: its settings belong to no cell of the present grid"):
        read(tmp_path, make_grid("table2", "small", 1))
    monkeypatch.setitem(presets.PRESETS, "small", preset)
    assert read(tmp_path, old)


def test_a_setting_that_is_new_leaves_old_records_valid(tmp_path):
    cells = make_grid("table2", "small", 1)
    record = make_up("table2", "small", cells[0])
    del record["config"]["evaluate_test"]
    write(tmp_path, record)
    assert list(read(tmp_path, cells)) == [cells[0].digest]


def test_a_record_is_made_from_what_a_run_wrote(tmp_path):
    cell = make_grid("table2", "small", 1)[2]
    results = dict(test=dict(accuracy=0.5, reconstruct_memory_gain=0.1), validation=dict(accuracy=0.6))
    summary = dict(test_accuracy=0.5, validation_accuracy=0.6, results=results, parameters=7, steps=4, seconds=8.0)
    (tmp_path / "summary.json").write_text(
        json.dumps({**summary, "params_digest": "f" * 64, "jax": "1", "devices": "1 x cpu", "examples": {"test": 5}})
    )
    metrics = [
        dict(kind="train", step=1, phase="train", epoch=0.5, loss=3.0, accuracy=0.2, gradient_norm=9.0, seconds=1.0),
        dict(kind="train", step=2, phase="train", epoch=1.0, loss=2.0, accuracy=0.4, seconds=2.0),
        dict(kind="validation", step=2, phase="train", epoch=1.0, accuracy=0.3, supervised_loss=1.5, seconds=2.0),
        dict(kind="test", step=2, phase="train", epoch=1.0, accuracy=0.25, supervised_loss=1.75, seconds=2.0),
        dict(kind="test", step=4, phase="train", epoch=2.0, accuracy=0.5, seconds=2.0),
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    record = make_record("table2", "small", cell, tmp_path, dict(machine=MACHINE, commit="abc"))
    assert (record["data"], record["model"], record["truncation"]) == ("mnist", "r-lstm", "truncated")
    assert record["reconstruct_memory_gain"] == 0.1
    assert record["machine"] == MACHINE
    assert record["examples"] == {"test": 5}
    assert record["history"] == read_history(tmp_path / "metrics.jsonl")
    assert record["history"] == [
        dict(
            step=2,
            epoch=1.0,
            phase="train",
            train_loss=2.0,
            train_accuracy=0.4,
            validation_accuracy=0.3,
            validation_supervised_loss=1.5,
            test_accuracy=0.25,
            test_supervised_loss=1.75,
        ),
        dict(step=4, epoch=2.0, phase="train", test_accuracy=0.5),
    ]
    assert records.parse_record(json.dumps(record).encode(), "table2", "small", {cell.kin}) == json.loads(
        json.dumps(record)
    )
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(RecordError, match="a complete run that cannot be read"):
        make_record("table2", "small", cell, tmp_path, {})


def test_the_paper_is_quoted_where_it_has_a_figure():
    assert len(TABLE2) == 21
    assert paper_accuracy("table2", "small", "cifar10", "r-lstm", "truncated") == 65.9
    assert paper_accuracy("bptt", "paper", "cifar10", "lstm", "300") == 49.0
    assert paper_accuracy("bptt", "paper", "cifar10", "r-lstm", "300") == 65.9
    assert paper_accuracy("bptt", "paper", "cifar10", "lstm", "full") == 58.8
    # The auxiliary loss keeps its cut there, which the paper's row lifts.
    assert paper_accuracy("bptt", "paper", "cifar10", "r-lstm", "full") is None
    assert paper_accuracy("bptt", "small", "cifar10", "lstm", "full") is None
    assert paper_accuracy("table2", "paper", "mnist", "both", "full") is None
    assert paper_accuracy("lengths", "paper", "stanford_dogs-28", "lstm", "full") is None


@pytest.fixture
def table(tmp_path):
    """The report of a table of three seeds, with one model far better, one no better, one row short and one empty."""
    cells = make_grid("table2", "small", 3)
    scores = {"lstm": 0.5, "r-lstm": 0.7, "p-lstm": 0.505, "both": 0.6, "transformer": 0.4}
    found = {}
    for cell in cells:
        is_left_out = cell.row == ("mnist", "both", "full") or (cell.row, cell.seed) == (("mnist", "lstm", "full"), 1)
        if not is_left_out:
            accuracy = scores[cell.model] + 0.01 * (cell.seed - 1)
            found[cell.digest] = make_up("table2", "small", cell, accuracy)
    (tmp_path / "small.remarks.md").write_text("Seen by hand.\n")
    lines = make_lines("table2", "small", cells, found)
    return write_report(tmp_path, "table2", "small", lines), lines


def test_a_report_says_in_words_what_the_numbers_show(table):
    text = table[0].read_text()
    assert "python experiments/reproduce.py table2 --preset=small --seeds=3" in text
    # Standard deviation 1 point on both sides: 2.776445 x sqrt(2 / 3) = 2.27.
    assert "mnist, truncated: r-LSTM minus LSTM +20.0 ± 2.3 points, more than the seeds' spread explains." in text
    assert "mnist, truncated: p-LSTM minus LSTM +0.5 ± 2.3 points, within the spread of the seeds." in text
    assert "- mnist, LSTM, full: seed 1\n- mnist, r- and p-LSTM, full: not run\n" in text
    assert "smaller than the paper's" in text
    assert (
        "Measured 2026-02-03 on Abacus 3, 1 core a run, 16 GiB, Debian, x86_64, JAX on 1 x cpu. Commit abcdef123456."
        in text
    )
    assert "## Remarks\n\nSeen by hand.\n" in text
    assert "![" in text
    row = "| mnist | r-LSTM, truncated | 70.0 ± 2.5 | 3 | 96.4 | -26.4 | 0.250 ± 0.000 | 1,234 | 61 | 32 | 512 |"
    assert row in text
    assert "| mnist | r- and p-LSTM, full |" not in text


def test_the_csv_holds_the_same_numbers(table):
    rows = list(csv.DictReader(io.StringIO(table[0].with_suffix(".csv").read_text())))
    assert len(rows) == 18
    row = next(r for r in rows if (r["data_set"], r["model"], r["truncation"]) == ("mnist", "r-lstm", "truncated"))
    assert float(row["test_accuracy"]) == 70
    assert float(row["test_accuracy_interval"]) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-4)
    assert float(row["difference"]) == pytest.approx(70 - 96.4)
    assert (row["seeds"], row["parameters"], row["commit"]) == ("0 1 2", "1234", "abcdef123456")
    assert float(row["validation_accuracy"]) == 70
    empty = next(r for r in rows if (r["data_set"], r["model"], r["truncation"]) == ("mnist", "both", "full"))
    assert (empty["test_accuracy"], empty["seeds"], empty["machine"]) == ("", "", "")


def test_one_seed_shows_no_spread(tmp_path):
    cells = make_grid("table2", "small", 1)
    found = {cell.digest: make_up("table2", "small", cell) for cell in cells}
    text = write_report(tmp_path, "table2", "small", make_lines("table2", "small", cells, found)).read_text()
    assert "r-LSTM minus LSTM +0.0 points, with too few seeds to know their spread." in text
    assert "| mnist | LSTM, truncated | 80.0 | 1 |" in text


def test_a_report_of_nothing_says_so(tmp_path):
    file = write_report(tmp_path, "text", "small", make_lines("text", "small", make_grid("text", "small", 2), {}))
    assert "There is no result yet." in file.read_text()
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize("experiment", presets.EXPERIMENTS)
@pytest.mark.parametrize("seeds", [1, 2])
def test_reports_and_figures_are_the_same_bytes_every_time(experiment, seeds, tmp_path):
    preset = "digits" if experiment == "lengths" else "small"
    cells = make_grid(experiment, preset, seeds)
    found = {c.digest: make_up(experiment, preset, c, 0.5 + 0.01 * c.seed) for c in cells[:-1]}
    for folder in ("a", "b"):
        write_report(tmp_path / folder, experiment, preset, make_lines(experiment, preset, cells, found))
    for ending in ("md", "csv", "png", "svg"):
        first, second = ((tmp_path / folder / f"{preset}.{ending}").read_bytes() for folder in ("a", "b"))
        assert first == second, ending
        assert len(first) > 500
    svg = (tmp_path / f"a/{preset}.svg").read_text()
    assert "<text" in svg
    assert "LSTM" in svg


def test_lengths_leave_out_what_is_too_long_and_say_what_it_costs(tmp_path):
    cells = make_grid("lengths", "digits", 2)
    assert max(cell.spec.length for cell in cells if cell.model == "transformer") == 36
    found = {c.digest: make_up("lengths", "digits", c) for c in cells}
    text = write_report(tmp_path, "lengths", "digits", make_lines("lengths", "digits", cells, found)).read_text()
    assert "Left out, for time and memory: transformer above 40 steps." in text
    assert "64 steps: LSTM, full takes 1 times the time of a step and 1 times the memory of r-LSTM, truncated." in text
    assert "| digits-6 | 36 | Transformer | 80.0 ± 0.0 | 2 |" in text


def test_curves_count_epochs_from_the_start_of_joint_training():
    cell = make_grid("curves", "small", 1)[1]
    found = [make_up("curves", "small", cell), make_up("curves", "small", cell)]
    assert {epoch: e.mean for epoch, e in mean_curve(found, "test", "accuracy").items()} == {1.0: 0.25, 2.0: 0.5}
    assert {epoch: e.mean for epoch, e in mean_curve(found, "test", "auxiliary_loss").items()} == {0.0: 0.6}
    assert mean_curve([], "test", "accuracy") == {}


def test_no_gradient_and_no_cut_stand_at_the_ends():
    places = place_truncations(["full", "0", "1", "10", "100"])
    assert sorted(places, key=places.__getitem__) == ["0", "1", "10", "100", "full"]
    assert places["10"] - places["1"] == pytest.approx(places["100"] - places["10"])
    assert place_truncations(["0", "full"]) == {"0": 0.0, "full": 1.0}


def test_the_report_alone_runs_nothing(tmp_path):
    cells = make_grid("table2", "small", 1)
    write(tmp_path / "results/table2", make_up("table2", "small", cells[0]))
    arguments = [f"--results={tmp_path}/results", f"--runs={tmp_path}/runs", "--preset=small", "--report"]
    said = []
    assert Session(parse_options(["reproduce.py", "table2", *arguments]), said.append).run() == 0
    assert said == [f"report: {tmp_path}/results/table2/small.md"]
    assert not (tmp_path / "runs").exists()


def test_machines_are_described_without_names(tmp_path):
    assert set(describe_machine(2)) == {"cpu", "cores", "memory_gib", "os"}
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Abacus 3\n")
    assert processor_name(tmp_path / "cpuinfo") == "Abacus 3"
    assert processor_name(tmp_path / "none")
    assert code_version(tmp_path) == "unknown"


def test_records_of_other_data_are_not_brought_together(tmp_path):
    first, second = (cell for cell in make_grid("table2", "small", 2) if cell.row == ("mnist", "lstm", "truncated"))
    other = {"train": 4, "validation": 1, "test": 5}
    write(tmp_path, make_up("table2", "small", first), make_up("table2", "small", second, examples=other))
    with pytest.raises(RecordError, match=r"line 2: examples .* in another record of the same row; move the file"):
        read(tmp_path, [first, second])


def test_a_report_says_where_only_a_part_of_the_data_was_there():
    cells = make_grid("table2", "small", 1)
    whole = {cell.digest: make_up("table2", "small", cell, examples={"train": 9, "test": 10_000}) for cell in cells}
    assert "only a part" not in format_report("table2", "small", make_lines("table2", "small", cells, whole), "")
    part = {digest: {**record, "examples": {"train": 9, "test": 4}} for digest, record in whole.items()}
    said = format_report("table2", "small", make_lines("table2", "small", cells, part), "")
    sentence = "only a part of the published data (9 train, 4 test examples; published are 10,000 test)."
    assert f"mnist, cifar10: {sentence}" in said


def test_a_line_that_is_no_text_is_damaged(tmp_path):
    cell = make_grid("table2", "small", 1)[0]
    (tmp_path / "small.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(RecordError, match=r"small.jsonl, line 1: damaged"):
        read(tmp_path, [cell])
