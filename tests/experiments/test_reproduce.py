"""reproduce.py: grids, mistakes on the command line, and runs that are executed, interrupted and continued."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import reproduce
from reproduction import presets
from reproduction.figures import EXPERIMENTS
from reproduction.grid import ROW, folder_of, make_grid
from written_run import write_run

from aux_rnn.config.serialization import to_flat
from aux_rnn.config.spec import check_segment
from aux_rnn.datasets import sequence_spec, split_sizes, steps_per_epoch
from aux_rnn.storage.workdir import lock
from aux_rnn.training.plan import Plan

MAIN = Path(reproduce.__file__)


@pytest.fixture
def tiny_preset(tiny, monkeypatch):
    """The preset 'digits' with tiny networks and data."""
    values = {name: value for name, value in to_flat(tiny).items() if name not in ("auxiliary", "data_dir", "seed")}
    values |= dict(decoder_sizes=(6, 5), auxiliary_truncation=4)
    preset = presets.Preset(
        data={name: {"digits": values} for name in EXPERIMENTS},
        changes={
            "transformer": dict(transformer_layers=1, transformer_size=8, transformer_heads=2),
            "weight 3": dict(auxiliary_weight=3.0),
        },
        truncations=(0, 4, "full"),
        longest={},
    )
    monkeypatch.setitem(presets.PRESETS, "digits", preset)
    return preset


@pytest.fixture
def only_lstm(tiny_preset, monkeypatch):
    monkeypatch.setattr("reproduction.grid.list_variants", lambda *_: [("lstm", "truncated"), ("lstm", "full")])


@pytest.fixture
def run(tmp_path, data_dir, capsys):
    """Runs the program with folders of its own; returns the exit code and its output."""

    def run_main(*arguments):
        folders = [f"--results={tmp_path}/results", f"--runs={tmp_path}/runs", f"--data_dir={data_dir}"]
        code = reproduce.main(["reproduce.py", *folders, *arguments])
        return code, *capsys.readouterr()

    return run_main


@pytest.mark.parametrize(
    ("experiment", "name"), [(each, name) for name, preset in presets.PRESETS.items() for each in preset.data]
)
def test_every_preset_makes_a_valid_grid(experiment, name):
    grid = make_grid(experiment, name, 2)
    assert not grid.duplicated([*ROW, "seed"]).any()
    assert list(grid["seed"]) == [0] * (len(grid) // 2) + [1] * (len(grid) // 2)
    assert list(grid["key"]) == 2 * list(grid["config"][: len(grid) // 2])
    for config in grid["key"].unique():
        check_segment(config.model, sequence_spec(config.data))
        Plan.of(config, steps_per_epoch(split_sizes(config.data).train, config.run.batch_size))


def test_equal_runs_of_two_experiments_share_their_folder(tiny_preset):
    table, bptt = (make_grid(name, "digits", 1) for name in ("table2", "bptt"))
    shared = table[table["config"].map(folder_of).isin(bptt["config"].map(folder_of))]
    names = ["lstm truncated", "lstm full", "r-lstm truncated", "r-lstm full", "p-lstm truncated"]
    assert list(shared["model"] + " " + shared["truncation"]) == names


@pytest.mark.parametrize("count", [7, 40])
def test_shards_are_disjoint_and_cover_all_runs(count, tiny_preset, tmp_path):
    grid = make_grid("bptt", "digits", 3)
    options = [SimpleNamespace(shard=(index, count), runs=tmp_path) for index in range(1, count + 1)]
    shards = [list(reproduce.plan_runs(grid, (), each)["workdir"]) for each in options]
    assert sorted(itertools.chain(*shards)) == sorted({tmp_path / folder_of(config) for config in grid["config"]})
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one NAME of table2, lengths, bptt, curves, compute, text"),
        (["table3"], "'table3': give one NAME of table2, lengths"),
        (["table2", "--seeds=0"], "--seeds=0: must be an integer from 1 to 1000"),
        (["table2", "--results=\udcff"], "--results=\\udcff: must be a folder of this machine"),
        (["table2", "--shard=3/2"], "--shard=3/2: must be i/n"),
        (["table2", "--results=gs://x"], "--results=gs://x: must be a folder"),
        (["text", "--preset=full"], "--preset=full: has no text; must be used with table2, bptt"),
    ],
)
def test_a_mistake_gets_one_line_and_nothing_is_done(arguments, message, run, tmp_path):
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err
    assert not any(tmp_path.iterdir())


def test_a_complete_run_that_cannot_be_read_is_named_and_others_are_recorded(only_lstm, run, tmp_path):
    summary = dict(test_accuracy=0.5, validation_accuracy=0.5, parameters=7, seconds=1.0)
    summary |= dict(examples={"test": 360}, results={"test": {}})
    machine = dict(cpu="Abacus 3", cores=1, memory_gib=16, os="Debian, x86_64")
    good, bad = make_grid("table2", "digits", 1)["config"][:2]
    write_run(tmp_path / "runs" / folder_of(good), good, **summary, machine=machine, devices="1 x cpu")
    write_run(tmp_path / "runs" / folder_of(bad), bad, **summary)
    code, out, err = run("table2", "--preset=digits", "--seeds=1")
    assert (code, err) == (1, "")
    assert "cannot be read (KeyError('machine')); move it away" in out
    assert "digits lstm truncated, seed 0: test accuracy 50.0 %" in out
    assert len((tmp_path / "results/table2/digits.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "title"),
    [
        (["bptt", "--seeds=4"], "bptt, preset digits: 44 runs, "),
        (["text", "--seeds=1", "--shard=99/99"], "text, preset digits: 0 runs, "),
    ],
)
def test_the_plan_fits_80_columns_and_writes_nothing(arguments, title, tiny_preset, run, tmp_path):
    code, out, _ = run(*arguments, "--preset=digits", "--dry_run")
    assert (code, out.startswith(title)) == (0, True)
    assert max(map(len, out.splitlines())) <= 80
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_grid_is_executed_and_its_runs_are_shared(only_lstm, run, tmp_path, monkeypatch):
    # As inside a step of SLURM with four tasks, which must not make the runs wait for each other.
    slurm = dict(SLURM_JOB_ID="7", SLURM_NTASKS="4", SLURM_PROCID="2", SLURM_LOCALID="2", SLURM_STEP_NODELIST="node7")
    for name, value in (slurm | dict(SLURM_JOB_NUM_NODES="1", SLURM_STEP_NUM_TASKS="4")).items():
        monkeypatch.setenv(name, value)
    arguments = ("--preset=digits", "--seeds=1", "--jobs=2")
    code, out, err = run("table2", *arguments)
    assert (code, err) == (0, "")
    assert "digits lstm full, seed 0: test accuracy" in out
    folder = tmp_path / "results/table2"
    records = [json.loads(line) for line in (folder / "digits.jsonl").read_text().splitlines()]
    found = {(r["model"], r["truncation"], r["steps"]) for r in records}
    assert found == {("lstm", "truncated", 6), ("lstm", "full", 6)}
    assert all(record["history"][-1]["test_accuracy"] == record["test_accuracy"] for record in records)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(before) == {"digits.jsonl", "digits.md", "digits.csv", "digits.png", "digits.svg"}

    code, out, _ = run("table2", *arguments)
    assert (code, " in /" in out) == (0, False)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}

    code, out, _ = run("bptt", *arguments, "--shard=2/2")
    assert code == 0
    assert " in /" not in out, "the run of the table is the run of the figure"
    (line,) = (tmp_path / "results/bptt/digits.shard-2-of-2.jsonl").read_text().splitlines()
    assert json.loads(line)["digest"] in {record["digest"] for record in records}


def test_a_failed_run_is_named_and_one_in_use_is_left_alone(only_lstm, run, tmp_path):
    bad, used = (tmp_path / "runs" / folder_of(config) for config in make_grid("table2", "digits", 1)["config"][:2])
    bad.mkdir(parents=True)
    (bad / "config.json").write_text("{")
    with lock(used):
        code, out, _ = run("table2", "--preset=digits", "--seeds=1", "--jobs=2")
    assert code == 1
    assert "digits lstm truncated, seed 0: failed" in out
    assert "not a configuration of this version" in out
    assert "python experiments/main.py --dataset=digits --auxiliary=none --seed=0" in out
    assert "digits lstm full, seed 0: in use by another command" in out
    assert "1 failed" in out


DRIVER = """
import json, sys
from reproduction import grid, presets
grid.list_variants = lambda *_: [("lstm", "truncated"), ("lstm", "full")]
presets.PRESETS["digits"] = presets.Preset({"table2": {"digits": json.loads(sys.argv[1])}}, {}, (), {})
import reproduce
sys.exit(reproduce.main(["reproduce.py", *sys.argv[2:]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_an_interrupted_command_saves_its_runs_and_continues(number, tiny_preset, tmp_path, data_dir):
    rarely = dict(train_epochs=100, evaluate_every_epochs=50, log_every_steps=5, checkpoint_every_steps=500)
    values = json.dumps({**tiny_preset.data["table2"]["digits"], **rarely})
    folders = [f"--results={tmp_path}/results", f"--runs={tmp_path}/runs", f"--data_dir={data_dir}"]
    arguments = ["table2", "--preset=digits", "--seeds=1", "--jobs=2", *folders]
    command = [sys.executable, "-c", DRIVER, values, *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{MAIN.parent}{os.pathsep}{MAIN.parents[1]}"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    while not any(file.stat().st_size for file in (tmp_path / "runs").glob("*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    for _ in range(2):  # as a scheduler does that signals the process group and its leader
        os.killpg(process.pid, number)
        time.sleep(0.01)
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 75
    assert "interrupted; the same command continues" in out
    summaries = [json.loads(file.read_text()) for file in (tmp_path / "runs").glob("*/summary.json")]
    assert any(0 < summary["steps"] < 300 for summary in summaries), "one was to be stopped in the middle"

    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "continues in" in done.stdout
    records = [json.loads(line) for line in (tmp_path / "results/table2/digits.jsonl").read_text().splitlines()]
    assert [record["steps"] for record in records] == [300, 300]
