"""reproduce.py: grids, shards, mistakes on the command line, and runs that are interrupted and continued."""

import dataclasses
import json
import os
import signal
import threading
import time
from types import SimpleNamespace

import command_line
import pytest
import reproduce
from reproduction import presets, runner, schedule
from reproduction.cells import Cell, changed_settings, digest_of
from reproduction.grids import distinct_runs, make_grid, select_cells, take_shard
from reproduction.options import parse_options, parse_shard
from reproduction.runner import Outcome, Process, divide_cores, judge
from reproduction.schedule import format_plan, format_seconds
from reproduction.session import Session
from reproduction.stopping import StopRequests

from aux_rnn.config import describe_difference, from_flat, iterate_settings
from aux_rnn.settings import ConfigError
from aux_rnn.workdir import Workdir


@pytest.fixture
def tiny_preset(tiny, monkeypatch):
    """The preset 'digits' with tiny networks and data."""
    settings = changed_settings(dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, num_anchors=1)))
    del settings["auxiliary"]
    preset = presets.Preset(
        settings=settings,
        models={"transformer": dict(transformer_layers=1, transformer_size=8, transformer_heads=2)},
        data={name: {"digits": {}} for name in presets.EXPERIMENTS},
        ablations={"weight 3": dict(auxiliary_weight=3.0)},
        truncations=(0, 4, "full"),
        longest={},
    )
    monkeypatch.setitem(presets.PRESETS, "digits", preset)
    return preset


@pytest.fixture
def run(tmp_path, data_dir, capsys):
    """Runs the program with folders of its own; returns the exit code and what it printed."""

    def run_main(*arguments):
        folders = [f"--results={tmp_path}/results", f"--runs={tmp_path}/runs", f"--data_dir={data_dir}"]
        code = reproduce.main(["reproduce.py", *folders, *arguments])
        return code, *capsys.readouterr()

    return run_main


@pytest.mark.parametrize("experiment", presets.EXPERIMENTS)
@pytest.mark.parametrize("name", list(presets.PRESETS))
def test_every_preset_makes_a_valid_grid(experiment, name):
    cells = make_grid(experiment, name, 2)
    assert len({(*cell.row, cell.seed) for cell in cells}) == len(cells)
    assert {cell.seed for cell in cells} == {0, 1}


@pytest.mark.parametrize(
    ("preset", "data", "files"),
    [
        ("digits", "digits", ["digits"]),
        ("small", "mnist", ["mnist", "small"]),
        ("small", "pmnist", ["pmnist", "small"]),
        ("small", "cifar10", ["cifar", "small"]),
        ("paper", "mnist", ["mnist"]),
        ("paper", "pmnist", ["pmnist"]),
        ("paper", "cifar10", ["cifar"]),
    ],
)
def test_flag_files_and_presets_say_the_same(preset, data, files):
    arguments = command_line.expand_flag_files(
        [f"--flagfile={file}.flags" for file in files], [command_line.FLAG_FILES]
    )
    fields = {field.name: field for _, field in iterate_settings()}
    lines = [argument.removeprefix("--").split("=") for argument in arguments]
    expected = from_flat({name: command_line.SettingParser(fields[name]).parse(text) for name, text in lines})
    cells = {cell.row: cell for cell in make_grid("table2", preset, 1)}
    assert describe_difference(cells[data, "r-lstm", "truncated"].config, expected) == ""


@pytest.mark.parametrize(
    ("experiment", "rows", "runs"),
    [
        ("table2", 9, 9),
        ("lengths", 4, 4),
        ("bptt", 12, 11),  # both losses cut after 4 steps are the preset's own truncations
        ("curves", 3, 3),
        ("text", 6, 6),
        ("ablations", 3, 3),
    ],
)
def test_grids_have_all_rows_once(experiment, rows, runs, tiny_preset):
    settings = {**tiny_preset.settings, "auxiliary_truncation": 4}
    presets.PRESETS["digits"] = dataclasses.replace(tiny_preset, settings=settings)
    cells = make_grid(experiment, "digits", 3)
    assert len(cells) == 3 * rows
    assert len({(*cell.row, cell.seed) for cell in cells}) == 3 * rows
    assert len(distinct_runs(cells)) == 3 * runs
    assert len({cell.folder for cell in distinct_runs(cells)}) == 3 * runs
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)


def test_equal_cells_of_two_experiments_are_one_run(tiny_preset):
    table, bptt = ({c.digest: c for c in make_grid(name, "digits", 1)} for name in ("table2", "bptt"))
    shared = [table[digest].row for digest in table if digest in bptt]
    arms = ("lstm", "truncated"), ("lstm", "full"), ("r-lstm", "truncated"), ("r-lstm", "full"), ("p-lstm", "truncated")
    assert shared == [("digits", *arm) for arm in arms]
    assert {table[d].folder for d in table if d in bptt} == {bptt[d].folder for d in bptt if d in table}


def test_curves_have_one_record_and_one_evaluation_an_epoch(tiny_preset):
    for cell in make_grid("curves", "digits", 1):
        run = cell.config.run
        assert (run.log_every_steps, run.evaluate_every_epochs, run.evaluate_test) == (3, 1, True)


def test_full_backpropagation_cuts_nothing(tiny_preset):
    cells = {cell.row: cell.config.model for cell in make_grid("table2", "digits", 1)}
    model = cells["digits", "both", "full"]
    assert (model.supervised_truncation, model.auxiliary_truncation, model.decoder_truncation) == ("full",) * 3
    assert cells["digits", "both", "truncated"].supervised_truncation == 4


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_shards_are_disjoint_and_cover_all_runs(count, tiny_preset):
    cells = make_grid("bptt", "digits", 3)
    shards = [take_shard(cells, (index, count)) for index in range(1, count + 1)]
    digests = [cell.digest for shard in shards for cell in shard]
    assert len(digests) == len(set(digests))
    assert set(digests) == {cell.digest for cell in cells}
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_digest_tells_settings_apart_and_ignores_where_files_lie():
    cell = Cell("digits", "lstm", "truncated", 1, dict(dataset="digits", segment_length=8))
    elsewhere = dataclasses.replace(cell, values={**cell.values, "data_dir": "/somewhere"})
    other = dataclasses.replace(cell, values={**cell.values, "hidden_size": 7})
    assert cell.digest == elsewhere.digest == digest_of({"seed": 1, "segment_length": 8, "dataset": "digits"})
    assert len({cell.digest, other.digest, dataclasses.replace(cell, seed=2).digest}) == 3
    assert cell.kin == dataclasses.replace(cell, seed=2).kin != other.kin


def test_the_flags_of_a_cell_say_the_same_as_its_settings(tiny_preset):
    cell = make_grid("curves", "digits", 2)[-1]
    assert {"--dataset=digits", "--seed=1", "--head_sizes=5", "--evaluate_test", "--decoder_sizes=6,5"} <= set(
        cell.flags()
    )


def test_only_the_rows_asked_for(tiny_preset):
    cells = make_grid("table2", "digits", 2)
    chosen = select_cells(cells, ["digits"], ["lstm", "both"])
    assert [(c.model, c.truncation) for c in chosen[:4]] == [
        (model, reach) for model in ("lstm", "both") for reach in ("truncated", "full")
    ]
    assert len(chosen) == 8


def test_a_grid_that_cannot_run_fails_before_any_work(tiny_preset, run):
    presets.PRESETS["digits"] = dataclasses.replace(
        tiny_preset, settings={**tiny_preset.settings, "segment_length": 17}
    )
    code, out, err = run("table2", "--preset=digits")
    assert (code, out) == (2, "")
    assert err.startswith(
        "error: digits r-lstm truncated, seed 0: --segment_length=17: must be at most 16 to reconstruct"
    )
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one NAME of table2, lengths, bptt, curves, text"),
        (["table3"], "'table3': must be one of table2, lengths"),
        (["table2", "text"], "'text': stray word"),
        (["table2", "--seeds=0"], "--seeds=0"),
        (["table2", "--seeds=many"], "--seeds=many"),
        (["table2", "--preset=huge"], "--preset=huge"),
        (["table2", "--speed=1"], "speed"),
        (["table2", "--jobs=-1"], "--jobs=-1"),
        (["table2", "--shard=0/2"], "--shard=0/2: must be i/n with i from 1 to n"),
        (["table2", "--shard=3/2"], "--shard=3/2: must be i/n"),
        (["table2", "--shard=1"], "--shard=1: must be i/n"),
        (["table2", "--dry_run", "--report"], "--dry_run --report: give one of the two"),
        (["table2", "--results=gs://x"], "--results=gs://x: must be a folder"),
        (["bptt", "--preset=digits", "--models=lstm,gpt"], "--models=lstm,gpt: 'gpt' must be one of lstm, r-lstm"),
        (["bptt", "--preset=digits", "--datasets=mnist"], "--datasets=mnist: 'mnist' must be one of digits"),
    ],
)
def test_a_mistake_gets_one_line_and_nothing_is_done(arguments, message, tiny_preset, run, tmp_path):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err.replace("error: flag ", "")
    assert err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_help_names_experiments_and_flags(run):
    code, out, _ = run("--help")
    assert code == 0
    for word in (*presets.EXPERIMENTS, "--preset", "--shard", "--dry_run"):
        assert word in out


def test_options_have_defaults_and_files():
    options = parse_options(["reproduce.py", "text", "--shard=2/3", "--preset=small", "--manual_dir=d"])
    assert (options.seeds, options.jobs, options.locations) == (5, 0, ("--manual_dir=d",))
    assert str(options.record_file) == "results/text/small.shard-2-of-3.jsonl"
    assert parse_options(["reproduce.py", "text"]).locations == ()
    assert parse_shard("12/12") == (12, 12)
    with pytest.raises(ConfigError):
        parse_shard("1/2/3")


def test_cores_are_divided_between_slots():
    assert divide_cores([0, 1], 2) == [[0], [1]]
    assert divide_cores([0, 1, 2, 3], 1) == [[0, 1, 2, 3]]
    assert divide_cores([4, 5, 6, 7], 2) == [[4, 6], [5, 7]]
    assert divide_cores([3], 2) == [[3], [3]]


def test_the_plan_fits_80_columns_and_writes_nothing(tiny_preset, run, tmp_path):
    code, out, _ = run("bptt", "--preset=digits", "--seeds=4", "--dry_run")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "bptt, preset digits: 48 runs, seeds 0 to 3" in out
    assert "r-lstm-cut-both" in out
    assert not any(tmp_path.iterdir())


def test_expected_times_are_this_machines_where_it_has_any(tiny_preset, tmp_path):
    first, second = (cell for cell in make_grid("curves", "digits", 2) if cell.model == "lstm")
    machine = dict(cpu="x", cores=1)
    record = dict(settings=first.settings, seconds=3_600.0, machine={**machine, "devices": "1 x cpu"})
    tasks = schedule.plan_tasks([first, second], tmp_path, {first.digest: record}, machine)
    assert [task.status for task in tasks] == [schedule.Status.DONE, schedule.Status.MISSING]
    assert (tasks[0].seconds, tasks[1].seconds) == (0, 3_600)
    assert "60 min" in format_plan("plan", tasks, 1)
    elsewhere = schedule.plan_tasks([second], tmp_path, {first.digest: {**record, "machine": {}}}, machine)
    assert elsewhere[0].seconds == pytest.approx(schedule.SECONDS_TO_START, abs=1)
    assert "~20 s" in format_plan("plan", elsewhere, 1)


def test_durations_are_short():
    assert [format_seconds(s) for s in (45, 900, 20_000, 400_000)] == ["45 s", "15 min", "5.6 h", "4.6 d"]


@pytest.mark.parametrize(
    ("code", "output", "is_stopping", "outcome"),
    [
        (0, "", False, Outcome.COMPLETE),
        (75, "", False, Outcome.INTERRUPTED),
        (-signal.SIGTERM, "", True, Outcome.INTERRUPTED),
        (-signal.SIGTERM, "", False, Outcome.FAILED),
        (2, "error: --workdir=x: another run is using it; wait for it or choose another\n\n", False, Outcome.ELSEWHERE),
        (2, "error: --dataset=x: must be one of y\n", False, Outcome.FAILED),
        (1, "", False, Outcome.FAILED),
    ],
)
def test_the_exit_code_of_a_run_says_how_it_ended(code, output, is_stopping, outcome, tmp_path):
    (tmp_path / "output.log").write_text(output)
    task = schedule.Task(None, tmp_path, schedule.Status.MISSING, 0, False)
    assert judge(Process(task, SimpleNamespace(returncode=code), 1, False), is_stopping) is outcome


def test_requests_in_quick_succession_are_one():
    times = iter([10.0, 10.5, 12.4, 20.0])
    requests = StopRequests(now=lambda: next(times))
    assert not requests
    counts = []
    for _ in range(4):
        requests.note()
        counts.append(requests.count)
    assert counts == [1, 1, 1, 2]
    assert requests


def make_session(tmp_path, data_dir, say, *arguments):
    folders = [f"--results={tmp_path}/results", f"--runs={tmp_path}/runs", f"--data_dir={data_dir}"]
    return Session(parse_options(["reproduce.py", *folders, *arguments]), say)


def stop_once_training(runs, said):
    """Sends this process SIGTERM when a run has written its first record, and the runs' own processes nothing."""

    def wait_and_stop():
        for _ in range(600):
            if any(file.stat().st_size for file in runs.glob("*/metrics.jsonl")):
                for _ in range(2):  # as a scheduler does that signals the group and its leader
                    os.kill(os.getpid(), signal.SIGTERM)
                    time.sleep(0.01)
                return
            time.sleep(0.1)
        said.append("never trained")

    threading.Thread(target=wait_and_stop, daemon=True).start()


def test_an_interrupted_command_continues_and_shares_its_runs(tiny_preset, tmp_path, data_dir):
    rarely = dict(train_epochs=100, evaluate_every_epochs=50, log_every_steps=5, checkpoint_every_steps=500)
    settings = {**tiny_preset.settings, **rarely}
    presets.PRESETS["digits"] = dataclasses.replace(tiny_preset, settings=settings)
    command = (tmp_path, data_dir)
    arguments = ("--preset=digits", "--models=lstm", "--seeds=1", "--jobs=2")
    said = []
    stop_once_training(tmp_path / "runs", said)
    assert make_session(*command, said.append, "table2", *arguments).run() == 75
    assert said[-1] == "interrupted; the same command continues"
    summaries = [json.loads(file.read_text()) for file in (tmp_path / "runs").glob("*/summary.json")]
    assert any(0 < summary["steps"] < 300 for summary in summaries), "it was to be stopped in the middle"

    said.clear()
    assert make_session(*command, said.append, "table2", *arguments).run() == 0
    assert any("continues" in line for line in said)
    file = tmp_path / "results/table2/digits.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    assert {(r["model"], r["truncation"], r["steps"]) for r in records} == {
        ("lstm", "truncated", 300),
        ("lstm", "full", 300),
    }
    for record in records:
        assert {"cpu", "cores", "memory_gib", "os", "devices"} == set(record["machine"])
        assert record["commit"] != "unknown"
        assert record["history"][-1]["test_accuracy"] == record["test_accuracy"]
        assert len(record["params_digest"]) == 64

    said.clear()
    before = file.read_text(), (tmp_path / "results/table2/digits.md").read_text()
    assert make_session(*command, said.append, "table2", *arguments).run() == 0
    assert not any("begins" in line or "continues" in line for line in said)
    assert before == (file.read_text(), (tmp_path / "results/table2/digits.md").read_text())

    said.clear()
    bptt = make_session(*command, said.append, "bptt", *arguments, "--shard=2/2")
    assert [cell.truncation for cell in bptt.cells] == ["4"]
    assert bptt.run() == 0
    assert not any("begins" in line for line in said), "the run of the table is the run of the figure"
    shared = json.loads((tmp_path / "results/bptt/digits.shard-2-of-2.jsonl").read_text())
    assert shared["digest"] in {record["digest"] for record in records}


def test_a_failed_run_is_named_and_the_others_go_on(tiny_preset, tmp_path, data_dir):
    said = []
    session = make_session(
        tmp_path, data_dir, said.append, "table2", "--preset=digits", "--models=lstm", "--seeds=1", "--jobs=2"
    )
    bad = session.options.runs / session.cells[0].folder
    bad.mkdir(parents=True)
    (bad / "config.json").write_text("{")
    assert session.run() == 1
    text = "\n".join(said)
    assert "digits lstm truncated seed 0: failed" in text
    assert "not a configuration of this version" in text
    assert "python experiments/main.py --dataset=digits --auxiliary=none --seed=0" in text
    assert "digits lstm full seed 0: test accuracy" in text
    assert said[-1].startswith("1 failed")


def test_a_run_of_another_command_is_left_alone(tiny_preset, tmp_path, data_dir):
    said = []
    session = make_session(
        tmp_path, data_dir, said.append, "table2", "--preset=digits", "--models=transformer", "--seeds=1"
    )
    (cell,) = session.cells
    workdir = Workdir(session.options.runs / cell.folder, cell.config)
    try:
        assert session.run() == 75
    finally:
        workdir.close()
    assert said[-1].startswith("1 running elsewhere")


def test_no_name_of_a_row_has_a_comma():
    """--models separates names by commas."""
    for preset in presets.PRESETS.values():
        assert not any("," in name for name in (*presets.MODELS, *preset.ablations))


def test_a_run_of_another_command_keeps_its_origin(tmp_path):
    task = SimpleNamespace(workdir=tmp_path)
    runner.write_origin(Process(task, None, 1, False))
    runner.write_origin(Process(task, None, 2, False))
    runner.write_origin(Process(task, None, 2, False))
    assert [origin["machine"]["cores"] for origin in runner.read_origins(tmp_path)] == [1, 2]
    assert runner.read_origin(tmp_path)["machine"]["cores"] == 2
    assert runner.read_origin(tmp_path / "by-hand") == {"machine": {}, "commit": "unknown"}
