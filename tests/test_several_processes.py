"""Runs real processes that train together on this machine: they end as one process does, or all at once."""

import contextlib
import json
import signal
import socket
import sys

import chex
import numpy as np
import pytest
from faulty import ROOT, STEPS, command, exists, read_metrics, run, start
from official import official_config, write_mnist

from aux_rnn.analysis.predict import predict_run
from aux_rnn.analysis.restore import restore_state
from aux_rnn.config.serialization import from_json
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import load_splits
from aux_rnn.training.experiment import create_experiment
from aux_rnn.training.steps import create_train_state

pytestmark = pytest.mark.slow
SECONDS = 480  # more than anything takes here
ENDLESS = ("--train_epochs=100000", "--log_every_steps=100")


@contextlib.contextmanager
def start_two(argv, *own):
    """Starts a command in two processes; `own` holds further flags of process 0 and of process 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = ["--num_processes=2", f"--coordinator_address=127.0.0.1:{listener.getsockname()[1]}", "--cpu_devices=1"]
    own = own or ([], [])
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(start([*argv, *place, f"--process_id={k}", *own[k]])) for k in range(2)]


def run_two(argv, *own):
    """Runs a command in two processes to its end."""
    with start_two(argv, *own) as programs:
        return [program.end(SECONDS) for program in programs]


def read_errors(ended):
    return [line for line in ended.err.splitlines() if line.startswith("error: ")]


@pytest.fixture(scope="module")
def pair(tmp_path_factory, data_dir):
    """Returns the folder of a run in two processes, and how its dry run and the run ended."""
    workdir = tmp_path_factory.mktemp("pair") / "run"
    flags = command(workdir, data_dir, "--cpu_devices=1")[2:]
    argv = [sys.executable, str(ROOT / "experiments/launch/local.py"), "2", *flags]
    dry_run = run([*argv, "--mode=dry_run"])
    assert not workdir.exists()
    return workdir, dry_run, run(argv)


def restore_both(workdir, expected_workdir):
    experiment = create_experiment(from_json((workdir / "config.json").read_text()))
    like = create_train_state(experiment.config, experiment.spec, experiment.plan)
    return restore_state(workdir, like), restore_state(expected_workdir, like)


def assert_same_end(workdir, expected_workdir):
    """Compares parameters, state of the optimizer and records up to rounding."""
    found, expected = (json.loads((path / "summary.json").read_text()) for path in (workdir, expected_workdir))
    assert found["status"] == "complete"
    assert found["steps"] == expected["steps"] == STEPS
    assert found["best"]["step"] == expected["best"]["step"]
    ours, theirs = restore_both(workdir, expected_workdir)
    chex.assert_trees_all_close(ours.params, theirs.params, atol=1e-5, rtol=0)
    chex.assert_trees_all_close(ours.opt_state, theirs.opt_state, atol=1e-5, rtol=1e-4)
    records = (
        {str((r.pop("kind"), r.pop("phase"), r["step"])): r for r in read_metrics(w)}
        for w in (workdir, expected_workdir)
    )
    chex.assert_trees_all_close(*records, atol=1e-4, rtol=1e-4)


def test_the_launcher_trains_in_two_processes_as_in_one_and_only_process_0_prints(pair, undisturbed):
    workdir, dry_run, trained = pair
    assert (dry_run.code, trained.code) == (0, 0), dry_run.err + trained.err
    assert dry_run.out.count("# devices     2 x cpu in 2 processes") == 1
    assert_same_end(workdir, undisturbed.workdir)
    assert "on 2 cpu devices in 2 processes" in trained.err
    assert all("[Gloo]" in line for line in trained.err.splitlines() if line.startswith("[1]"))


@pytest.mark.parametrize("steps", ["3", "auto"])
def test_two_processes_take_the_same_steps_per_dispatch(steps, tmp_path, data_dir, undisturbed):
    rarely = ["--log_every_steps=4", "--checkpoint_every_steps=100", "--evaluate_every_epochs=100"]
    argv = command(tmp_path / "run", data_dir, *rarely, f"--steps_per_dispatch={steps}")
    assert [each.code for each in run_two(argv)] == [0, 0]
    ours, theirs = restore_both(tmp_path / "run", undisturbed.workdir)
    assert int(ours.step) == STEPS
    chex.assert_trees_all_close(ours.params, theirs.params, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("asked", "number"), [(1, signal.SIGTERM), pytest.param(0, signal.SIGINT, marks=pytest.mark.long)]
)
def test_a_signal_to_one_process_stops_both_at_the_same_step(asked, number, tmp_path, data_dir, undisturbed):
    argv = command(tmp_path / "run", data_dir)
    with start_two(argv) as programs:
        assert programs[asked].wait_for(exists(tmp_path / "run/checkpoints", "[1-9]*"), SECONDS)
        programs[asked].send(number)
        codes = [program.end(SECONDS).code for program in programs]
    assert codes in ([75, 75], [0, 0])  # on a busy machine it may be complete first
    if codes == [75, 75]:
        summary = json.loads((tmp_path / "run/summary.json").read_text())
        assert summary["status"] == "interrupted"
        assert (tmp_path / f"run/checkpoints/{summary['steps']}").is_dir()
    assert run([*argv, "--cpu_devices=4"]).code == 0  # continues in one process
    assert_same_end(tmp_path / "run", undisturbed.workdir)


SETTINGS = "other settings than process 0 (seed: 1 -> 2); start all processes with the same flags"
DISPATCH = SETTINGS.replace("seed: 1 -> 2", "steps_per_dispatch: auto -> 3")
DEVICES = "the processes have 2, 1 devices; give all equally many (on a CPU: --cpu_devices)"


@pytest.mark.parametrize(
    ("own", "errors"),
    [
        ((["--seed=1"], ["--seed=2"]), [[f"error: process 1 of 2: {SETTINGS}"], [f"error: {SETTINGS}"]]),
        (([], ["--steps_per_dispatch=3"]), [[f"error: process 1 of 2: {DISPATCH}"], [f"error: {DISPATCH}"]]),
        ((["--cpu_devices=2"], ["--cpu_devices=1"]), [[f"error: {DEVICES}"], None]),
    ],
)
def test_different_settings_and_devices_are_refused_in_all_processes(own, errors, tmp_path, data_dir):
    ended = run_two(command(tmp_path / "run", data_dir), *own)
    assert [each.code for each in ended] == [2, 2]
    for each, expected in zip(ended, errors, strict=True):
        assert expected in (None, read_errors(each))
    assert not (tmp_path / "run").exists()


def test_data_missing_in_one_process_ends_all(tmp_path):
    write_mnist(tmp_path / "manual")
    load_splits(official_config(tmp_path, "mnist"), seed=0)
    (tmp_path / "file").write_text("")
    argv = command(tmp_path / "run", tmp_path / "data", "--dataset=mnist", "--allow_partial")
    first, second = run_two(argv, [], [f"--data_dir={tmp_path}/file/data"])
    assert (first.code, second.code) == (2, 2)
    assert "/file/data: preparing mnist failed" in read_errors(second)[0]
    assert read_errors(first)[0].startswith("error: process 1 of 2: --data_dir=")


def test_a_folder_in_use_is_refused_in_all_processes(tmp_path, data_dir):
    argv = command(tmp_path / "run", data_dir, *ENDLESS)
    with start(argv) as other:
        assert other.wait_for(exists(tmp_path / "run", "config.json"), SECONDS)
        first, second = run_two(argv)
    assert (first.code, second.code) == (73, 2)
    assert "another run is using it" in read_errors(first)[0]


def test_two_processes_evaluate_and_predict_as_one(pair, data_dir):
    workdir, *_ = pair
    argv = [*command(workdir, data_dir)[:2], f"--workdir={workdir}", f"--data_dir={data_dir}"]
    first, second = run_two([*argv, "--mode=eval"])
    assert (first.code, second.code, second.out) == (0, 0, "")
    results = json.loads((workdir / "summary.json").read_text())["results"]
    table = {line.split()[0]: line for line in first.out.splitlines()}
    for split in ("validation", "test"):
        assert f"accuracy {100 * results[split]['accuracy']:.1f} %" in table[split]
    expected = predict_run(workdir, DataConfig(data_dir=data_dir), "validation")
    assert [ended.code for ended in run_two([*argv, "--mode=predict", "--split=validation"])] == [0, 0]
    with np.load(workdir / "predictions-validation.npz") as found:
        np.testing.assert_allclose(found["logits"], expected.logits, atol=1e-5)
        np.testing.assert_array_equal(found["ids"], expected.ids)


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize(
    ("index", "number"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (0, signal.SIGSTOP), (1, signal.SIGSTOP)]
)
def test_a_process_that_dies_or_is_suspended_ends_the_other(index, number, tmp_path, data_dir):
    with start_two(command(tmp_path / "run", data_dir, *ENDLESS)) as programs:
        assert programs[0].wait_for(exists(tmp_path / "run/checkpoints", "[1-9][0-9]*"), SECONDS)
        programs[index].send(number)
        assert programs[1 - index].end(60).code != 0


RAISING = """
import runpy, sys
from aux_rnn.training.loop import Loop
log = Loop.log
def log_or_fail(self, step, phase, metrics):
    if self.processes.index == {index} and step == 8:
        raise RuntimeError("a defect")
    return log(self, step, phase, metrics)
Loop.log = log_or_fail
sys.path.insert(0, {folder!r})
sys.argv[0] = {folder!r} + "/main.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.faults
@pytest.mark.long
@pytest.mark.parametrize("index", [0, 1])
def test_an_exception_in_one_process_ends_both(index, tmp_path, data_dir, undisturbed):
    (tmp_path / "raising.py").write_text(RAISING.format(index=index, folder=str(ROOT / "experiments")))
    argv = command(tmp_path / "run", data_dir)
    # JAX is imported before the program can choose the devices: each process has one.
    ended = run_two([sys.executable, str(tmp_path / "raising.py"), *argv[2:]])
    assert ended[index].code == 1
    assert ended[index].err.splitlines()[-1] == "RuntimeError: a defect"
    assert ended[1 - index].code != 0
    assert [each.code for each in run_two(argv)] == [0, 0]
    assert_same_end(tmp_path / "run", undisturbed.workdir)
