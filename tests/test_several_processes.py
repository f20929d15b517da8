"""Runs of several real processes on this machine: the same result as of one, one end for all, whatever happens."""

import json
import os
import signal

import chex
import numpy as np
import pytest
import together
from faulty import read_metrics

from aux_rnn.config import DataConfig, from_json
from aux_rnn.evaluation import restore_state
from aux_rnn.experiment import create_experiment
from aux_rnn.predictions import predict_run
from aux_rnn.steps import create_train_state

SETTINGS = [
    "--dataset=digits",
    "--image_size=4",
    "--train_examples=40",
    "--embedding_size=4",
    "--hidden_size=6",
    "--head_sizes=5",
    "--decoder_sizes=6,5",
    "--decoder_head_sizes=5",
    "--segment_length=5",
    "--supervised_truncation=4",
    "--auxiliary_truncation=3",
    "--batch_size=8",
    "--pretrain_epochs=1",
    "--log_every_steps=1",
    "--checkpoint_every_steps=2",
]


@pytest.fixture(scope="module")
def settings(data_dir):
    """5 + 15 steps."""
    return [*SETTINGS, f"--data_dir={data_dir}", "--train_epochs=3"]


@pytest.fixture(scope="module")
def endless(data_dir):
    return [*SETTINGS, f"--data_dir={data_dir}", "--train_epochs=100000", "--log_every_steps=100", "--workdir=run"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, settings):
    """The folder of a run of one process and two devices, that nobody disturbed."""
    folder = tmp_path_factory.mktemp("alone")
    assert together.wait(together.start(1, folder, [*settings, "--workdir=run", "--cpu_devices=2"])) == [0]
    return folder / "0/run"


def restore(run):
    config = from_json((run / "config.json").read_text())
    experiment = create_experiment(config)
    return restore_state(run, create_train_state(config, experiment.spec, experiment.plan))


def read_records(run):
    """The records by what and when they were."""
    return {f"{r.pop('kind')} {r.pop('phase')} {r['step']}": r for r in read_metrics(run)}


def assert_same_end(run, alone):
    summary, expected = (json.loads((path / "summary.json").read_text()) for path in (run, alone))
    assert summary["status"] == "complete"
    assert summary["steps"] == expected["steps"] == 20
    ours, theirs = restore(run), restore(alone)
    chex.assert_trees_all_close(ours.params, theirs.params, atol=1e-5, rtol=0)
    chex.assert_trees_all_close(ours.opt_state, theirs.opt_state, atol=1e-5, rtol=1e-4)
    chex.assert_trees_all_close(*(read_records(path) for path in (run, alone)), atol=1e-4, rtol=1e-4)
    assert summary["best"]["step"] == expected["best"]["step"]
    assert (run / f"checkpoints/{summary['best']['step']}").is_dir()


@pytest.fixture(scope="module")
def pair(tmp_path_factory, settings):
    """The folder of a run of two processes."""
    folder = tmp_path_factory.mktemp("pair")
    processes = together.start(2, folder, [*settings, "--workdir=run", "--cpu_devices=1"])
    assert together.wait(processes) == [0, 0], [process.log.read_text() for process in processes]
    return folder


def test_two_processes_end_as_one_does(pair, alone):
    assert_same_end(pair / "0/run", alone)


def test_only_process_0_writes_and_speaks(pair):
    assert sorted(p.name for p in (pair / "0/run").iterdir() if p.name != ".lock") == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "plots",
        "report.html",
        "summary.json",
        "tensorboard",
    ]
    assert [p.name for p in (pair / "1").iterdir()] == ["log"]
    first, second = ((pair / folder / "log").read_text() for folder in "01")
    assert all(line.startswith("[Gloo]") for line in second.splitlines())
    assert "r-LSTM on digits, on 2 cpu devices in 2 processes  results in run  Ctrl-C stops" in first
    assert first.splitlines()[-1].split() == ["report", "run/report.html"]


@pytest.mark.slow
def test_two_processes_evaluate_every_example_once(pair, tmp_path, data_dir):
    run = pair / "0/run"
    flags = ["--mode=eval", f"--workdir={run}", "--cpu_devices=1", f"--data_dir={data_dir}"]
    processes = together.start(2, tmp_path, flags)
    assert together.wait(processes) == [0, 0]
    results = json.loads((run / "summary.json").read_text())["results"]
    table = {line.split()[0]: line for line in processes[0].lines}
    for split in ("validation", "test"):
        assert f"accuracy {100 * results[split]['accuracy']:.1f} %" in table[split]
    assert processes[1].lines == []


def test_two_processes_predict_what_one_does(pair, tmp_path, data_dir):
    flags = ["--mode=predict", f"--workdir={pair}/0/run", "--cpu_devices=1", f"--data_dir={data_dir}"]
    # 144 examples in batches of 8, and 1 + 1 devices here and 4 there.
    expected = predict_run(pair / "0/run", DataConfig(data_dir=data_dir), "validation")
    processes = together.start(2, tmp_path, [*flags, "--split=validation"])
    assert together.wait(processes) == [0, 0]
    assert processes[1].lines == []
    with np.load(pair / "0/run/predictions-validation.npz") as found:
        np.testing.assert_allclose(found["logits"], expected.logits, atol=1e-5)
        np.testing.assert_array_equal(found["labels"], expected.labels)
        np.testing.assert_array_equal(found["ids"], expected.ids)


@pytest.mark.slow
def test_two_processes_rehearse_a_run_together(tmp_path, settings):
    processes = together.start(2, tmp_path, ["--mode=dry_run", *settings, "--workdir=run", "--cpu_devices=1"])
    assert together.wait(processes) == [0, 0]
    assert "# devices     2 x cpu in 2 processes" in processes[0].lines
    assert processes[1].lines == []
    assert [p.name for p in (tmp_path / "0").iterdir()] == ["log"]


@pytest.mark.parametrize("asked", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_stop_asked_of_one_is_taken_by_all_at_the_same_step(asked, tmp_path, settings, alone):
    slow = [*settings, "--workdir=run"]
    processes = together.start(2, tmp_path, [*slow, "--cpu_devices=1"])
    checkpoints = tmp_path / "0/run/checkpoints"
    together.wait_until(lambda: any(checkpoints.glob("[1-9]*")), processes)
    processes[asked].popen.send_signal(signal.SIGTERM)
    codes = together.wait(processes)
    assert codes in ([75, 75], [0, 0])  # a busy machine may let it end first
    if codes == [75, 75]:
        summary = json.loads((tmp_path / "0/run/summary.json").read_text())
        assert summary["status"] == "interrupted"
        assert (checkpoints / str(summary["steps"])).is_dir()
    # On as one process with four devices.
    assert together.wait(together.start(1, tmp_path, [*slow, "--cpu_devices=4"])) == [0]
    assert_same_end(tmp_path / "0/run", alone)


def test_other_settings_in_one_process_are_refused_in_all(tmp_path, settings):
    own = [["--seed=1"], ["--seed=2"]]
    processes = together.start(2, tmp_path, [*settings, "--workdir=run", "--cpu_devices=1"], own)
    assert together.wait(processes) == [2, 2]
    assert processes[1].lines == [
        "error: other settings than process 0 (seed: 1 -> 2); start all processes with the same flags"
    ]
    assert processes[0].lines == [processes[1].lines[0].replace("error: ", "error: process 1 of 2: ")]
    assert not (tmp_path / "0/run").exists()


def test_data_that_one_process_lacks_ends_all(tmp_path, settings):
    (tmp_path / "file").write_text("")
    own = [[], [f"--data_dir={tmp_path}/file/data"]]
    processes = together.start(2, tmp_path, [*settings, "--workdir=run", "--cpu_devices=1"], own)
    assert together.wait(processes) == [2, 2]
    assert "/file/data: cannot be written" in processes[1].error
    assert processes[0].error.startswith("error: process 1 of 2: --data_dir=")


@pytest.mark.slow
def test_unequal_devices_are_refused(tmp_path, settings):
    own = [["--cpu_devices=2"], ["--cpu_devices=1"]]
    processes = together.start(2, tmp_path, [*settings, "--workdir=run"], own)
    assert together.wait(processes) == [2, 2]
    assert processes[0].lines == [
        "error: the processes have 2, 1 devices; give all equally many (on a CPU: --cpu_devices)"
    ]
    assert processes[1].lines == []


@pytest.mark.slow
def test_a_workdir_in_use_ends_all(tmp_path, settings, endless):
    (tmp_path / "0").mkdir()
    busy = together.start(1, tmp_path / "0", [*endless, f"--workdir={tmp_path}/run", "--cpu_devices=1"])
    together.wait_until(lambda: (tmp_path / "run/config.json").exists(), busy)
    processes = together.start(2, tmp_path, [*endless, f"--workdir={tmp_path}/run", "--cpu_devices=1"])
    assert together.wait(processes) == [2, 2]
    assert "another run is using it" in processes[0].error
    busy[0].popen.kill()


@pytest.fixture
def training(tmp_path, endless):
    """Two processes that have trained for a while."""
    processes = together.start(2, tmp_path, [*endless, "--cpu_devices=1"])
    together.wait_until(lambda: any((tmp_path / "0/run/checkpoints").glob("[1-9][0-9]*")), processes)
    yield processes
    for process in processes:
        process.popen.kill()


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_that_is_killed_ends_the_other(killed, training):
    training[killed].popen.kill()
    assert training[1 - killed].wait() != 0
    assert training[1 - killed].error == f"error: process {killed} of 2 is gone"


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("stopped", [0, 1])
def test_a_process_that_is_stopped_ends_the_other(stopped, training):
    os.kill(training[stopped].popen.pid, signal.SIGSTOP)
    assert training[1 - stopped].wait() == 1
    assert training[1 - stopped].error == f"error: process {stopped} of 2 has not answered for 20 seconds"


RAISING = """
import runpy, sys
from aux_rnn.run import Run
fetch = Run.fetch_batch
def fetch_batch(self):
    if self.processes.index == {index} and self.step == 12:
        raise RuntimeError("a defect")
    return fetch(self)
Run.fetch_batch = fetch_batch
sys.argv[0] = {main!r}
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("raising", [0, 1])
def test_a_process_that_raises_ends_the_other(raising, tmp_path, settings, alone, monkeypatch):
    # What patches the program imports JAX before it, so the environment is left as it is.
    program = tmp_path / "raising.py"
    program.write_text(RAISING.format(index=raising, main=str(together.MAIN), folder=str(together.MAIN.parent)))
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=1")
    processes = together.start(2, tmp_path, [*settings, "--workdir=run"], program=program)
    assert together.wait(processes) == [1, 1]
    assert "RuntimeError: a defect" in processes[raising].lines
    assert processes[1 - raising].error == f"error: process {raising} of 2: RuntimeError: a defect"
    assert together.wait(together.start(2, tmp_path, [*settings, "--workdir=run", "--cpu_devices=1"])) == [0, 0]
    assert_same_end(tmp_path / "0/run", alone)
