"""The job script on a real SLURM cluster of two nodes on this machine."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import pytest
from faulty import FLAGS, XLA_FLAGS, command, read_metrics

from aux_rnn.distributed import choose_local_devices

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
JOB = ROOT / "experiments/launch/slurm.sh"
NODES = ("127.0.0.1", "127.0.0.2")
REASON = "needs root to start a cluster" if os.getuid() else "needs SLURM: apt-get install slurm-wlm munge"
has_slurm = not os.getuid() and all(map(shutil.which, ("slurmctld", "slurmd", "munged", "sbatch")))
STAND_IN = '#!/bin/sh\n[ "$1" = test ] || exec sh -c "$2"\n'  # launch.sh with a shell command in place of training


class Cluster:
    """Two nodes with eight CPUs and four pretended GPUs each; jobs are submitted from its folder."""

    def __init__(self, folder, data_dir):
        self.folder = folder
        self.flags = [*FLAGS, f"--data_dir={data_dir}", "--pretrain_epochs=0", "--train_epochs=40", "--nopictures"]
        self.flags += ["--evaluate_every_epochs=20", "--log_every_steps=10", "--checkpoint_every_steps=30"]
        (folder / "experiments/launch").mkdir(parents=True)
        shutil.copy(JOB, folder / "experiments/launch")
        (folder / "launch.sh").write_text(STAND_IN)
        (folder / "launch.sh").chmod(0o755)
        variables = {"SLURM_CONF": str(folder / "state/slurm.conf"), "VENV": sys.prefix, "XLA_FLAGS": XLA_FLAGS}
        self.environment = {**os.environ, **variables}
        (folder / "state").mkdir()
        self.control("up")

    def control(self, action, *node):
        self.run(str(ROOT / "tests/slurm_cluster.sh"), action, str(self.folder / "state"), *node)

    def run(self, *argv):
        where = dict(cwd=self.folder, env=self.environment, timeout=60)
        done = subprocess.run(argv, **where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def submit(self, *options, script=JOB, flags):
        return self.run("sbatch", "--parsable", "--time=10", *options, str(script), *flags).strip()

    def submit_stand_in(self, *options, shell):
        return self.submit(*options, script="experiments/launch/slurm.sh", flags=[shell])

    def log(self, job):
        path = self.folder / f"aux_rnn-{job}.log"
        return path.read_text() if path.exists() else ""

    def show(self, job):
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", job)))

    def wait_for_text(self, job, text):
        self.wait(lambda: text in self.log(job), job)

    def wait_for_end(self, job, state, exit_code="0:0"):
        ends = ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL", "TIMEOUT")
        self.wait(lambda: self.show(job)["JobState"] in ends, job)
        assert [self.show(job)[name] for name in ("JobState", "ExitCode")] == [state, exit_code], self.log(job)

    def wait(self, condition, job):
        until = time.monotonic() + 900  # only reached where something hangs, even on a busy machine
        while not condition():
            assert time.monotonic() < until, f"{self.show(job)}\n{self.log(job)}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, data_dir):
    if not has_slurm:
        pytest.skip(REASON)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"), data_dir)
    yield cluster
    cluster.control("down")


@pytest.fixture(scope="module")
def stuck(cluster):
    """A job that never progresses beyond step 18; submitted early, as SLURM waits six seconds before each restart."""
    shell = '[ $SLURM_PROCID = 1 ] && kill -ABRT $$; echo "status      interrupted after 18 steps; ..."; exit 75'
    return cluster.submit_stand_in("--ntasks=2", shell=shell)


def test_interrupted_job_continues_and_ends_as_one_process_does(cluster, stuck):
    job = cluster.submit("--nodes=2", flags=[*cluster.flags, "--cpu_devices=1", "--workdir=two"])
    cluster.wait_for_text(job, "train 10/")
    cluster.run("scancel", "--signal=TERM", job)  # to the tasks only, as before the time limit
    cluster.wait_for_text(job, "interrupted; requeued")
    alone = [*command(cluster.folder / "one", "", *cluster.flags), "--cpu_devices=2"]
    subprocess.run(alone, env=cluster.environment, check=True, capture_output=True)
    cluster.wait_for_end(job, "COMPLETED")
    log = cluster.log(job)
    assert cluster.show(job)["Restarts"] == "1"
    assert [text in log for text in ("in 2 processes", "continues after step", "[Gloo]")] == [True, True, False]
    assert not (cluster.folder / f"aux_rnn-{job}.restarts").exists()
    runs = [cluster.folder / name for name in ("one", "two")]
    records = [{f"{r.pop('kind')} {r.pop('phase')} {r['step']}": r for r in read_metrics(run)} for run in runs]
    chex.assert_trees_all_close(*records, atol=1e-4, rtol=1e-4)


def test_job_without_progress_stops_after_five_restarts(cluster, stuck):
    cluster.wait_for_end(stuck, "FAILED", "75:0")
    assert cluster.show(stuck)["Restarts"] == "5"
    assert "error: no step of progress in 5 starts in a row (step 18)" in cluster.log(stuck).splitlines()[-1]


def test_failed_and_cancelled_jobs_are_not_requeued(cluster):
    failed = cluster.submit_stand_in("--ntasks=2", shell="exit $((SLURM_PROCID + 1))")
    cluster.wait_for_end(failed, "FAILED", "2:0")
    assert "task 1: Exited with exit code 2" in cluster.log(failed)
    cancelled = cluster.submit_stand_in(shell='echo started; trap "exit 75" TERM; sleep 60 & wait')
    cluster.wait_for_text(cancelled, "started")
    cluster.run("scancel", cancelled)
    cluster.wait_for_end(cancelled, "CANCELLED", "0:15")


def test_job_that_slurm_has_requeued_is_left_alone(cluster):
    """The daemon of the node is gone, so SLURM cannot end the job there, as after a failure of the network."""
    shell = '[ -n "$SLURM_RESTART_COUNT" ] && exit; echo started; while ! [ -e go ]; do sleep 0.1; done; exit 75'
    job = cluster.submit_stand_in(f"--nodelist={NODES[1]}", shell=shell)
    cluster.wait_for_text(job, "started")
    os.kill(int((cluster.folder / f"state/slurmd-{NODES[1]}.pid").read_text()), signal.SIGKILL)
    cluster.run("scontrol", "requeue", job)
    (cluster.folder / "go").touch()
    cluster.wait_for_text(job, "SLURM has requeued or cancelled this job already")
    cluster.control("node", NODES[1])
    cluster.wait_for_end(job, "COMPLETED")
    assert cluster.show(job)["Restarts"] == "1"


@pytest.mark.parametrize(
    ("options", "devices"),
    [
        (["--ntasks-per-node=1", "--gpus-per-node=4"], [None]),
        (["--ntasks-per-node=4", "--gpus-per-task=1"], [[0], [0], [0], [0]]),
        (["--ntasks-per-node=4", "--gpus-per-node=4"], [[0], [1], [2], [3]]),
    ],
)
def test_each_process_takes_its_gpus(cluster, options, devices):
    job = cluster.submit_stand_in("--nodes=2", *options, shell="env -0 > env-$SLURM_JOB_ID-$SLURM_PROCID")
    cluster.wait_for_end(job, "COMPLETED")
    found = []
    for index in range(2 * len(devices)):
        entries = (cluster.folder / f"env-{job}-{index}").read_text().split("\0")
        found.append(choose_local_devices(dict(entry.split("=", 1) for entry in entries if entry)))
    assert found == devices * 2


def find_task(job, index):
    """The process of main.py with this number, and its parent, which belongs to SLURM."""
    expected = {f"SLURM_JOB_ID={job}".encode(), f"SLURM_PROCID={index}".encode()}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            is_task = expected <= set((folder / "environ").read_bytes().split(b"\0"))
            if is_task and b"main.py" in (folder / "cmdline").read_bytes():
                return int(folder.name), int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    raise AssertionError(f"job {job} has no task {index}")


@pytest.mark.long
def test_killed_task_ends_the_job_and_is_named(cluster):
    flags = [*cluster.flags, "--cpu_devices=1", "--workdir=killed"]
    job = cluster.submit("--nodes=2", flags=flags)
    cluster.wait_for_text(job, "train 40/")
    os.kill(find_task(job, 1)[0], signal.SIGKILL)
    cluster.wait_for_end(job, "FAILED", "137:0")
    assert "127.0.0.2: task 1: Killed" in cluster.log(job)
    again = cluster.submit("--nodes=2", flags=flags)
    cluster.wait_for_end(again, "COMPLETED")
    assert "continues after step" in cluster.log(again)


@pytest.mark.long
def test_job_continues_after_the_failure_of_a_node(cluster):
    job = cluster.submit("--nodes=2", flags=[*cluster.flags, "--cpu_devices=1", "--workdir=node"])
    cluster.wait_for_text(job, "train 40/")
    for process in (int((cluster.folder / f"state/slurmd-{NODES[1]}.pid").read_text()), *find_task(job, 1)[::-1]):
        os.kill(process, signal.SIGKILL)
    cluster.wait(lambda: cluster.show(job)["Restarts"] == "1", job)
    cluster.control("node", NODES[1])
    cluster.wait_for_end(job, "COMPLETED")
    assert "continues after step" in cluster.log(job)


def test_job_script_outside_of_slurm_names_the_command():
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run([str(JOB)], env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "sbatch [options] experiments/launch/slurm.sh" in done.stderr
