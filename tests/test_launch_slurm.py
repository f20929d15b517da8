"""The SLURM job: what it asks for, and how it runs under a real bash with stand-ins for srun, scontrol and main.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import slurm

LAUNCH_SH = Path(__file__).parent.parent / "launch.sh"
PATIENCE = 20  # seconds that nothing here takes, even on a busy machine

# As many processes as asked for, in a session each; as srun itself, the highest exit code of all.
SRUN = f"""#!{sys.executable}
import json, os, subprocess, sys
words = sys.argv[1:]
options = [words.pop(0) for _ in range(len(words)) if words[0].startswith("--")]
processes = [
    subprocess.Popen(words, start_new_session=True, env={{**os.environ, "SLURM_PROCID": str(i)}})
    for i in range(int(os.environ["STAND_IN_TASKS"]))
]
with open("srun.json", "w") as file:
    json.dump({{"options": options, "groups": [process.pid for process in processes]}}, file)
codes = [process.wait() for process in processes]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
SCONTROL = f"""#!{sys.executable}
import json, os, sys
with open("scontrol.json", "w") as file:
    json.dump(sys.argv[1:], file)
sys.exit(int(os.environ.get("STAND_IN_REQUEUE", "0")))
"""
# In the place of launch.sh: ends with the code of its process, at once or when SIGTERM comes.
LAUNCH = f"""#!{sys.executable}
import json, os, signal, sys, time
if sys.argv[1] == "test":
    open("set-up", "a").write("once ")
    sys.exit(int(os.environ.get("STAND_IN_SET_UP", "0")))
me = os.environ["SLURM_PROCID"]
code = json.loads(os.environ["STAND_IN_CODES"])[int(me)]
with open(f"given-{{me}}.json", "w") as file:
    json.dump(sys.argv[1:], file)
if code < 0:
    os.kill(os.getpid(), -code)
if code == 75:
    def leave(number, frame):
        time.sleep(0.2 * int(me))  # some save longer than others
        open(f"saved-{{me}}", "w").close()
        sys.exit(75)
    signal.signal(signal.SIGTERM, leave)
    open(f"ready-{{me}}", "w").close()
    time.sleep(90)
sys.exit(code)
"""


@pytest.fixture
def make_job(tmp_path, monkeypatch, capsys):
    """Writes a job for the stand-ins; returns the process that runs it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "LAUNCH", tmp_path / "a folder" / "launch.sh")
    slurm.LAUNCH.parent.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, slurm.LAUNCH: LAUNCH}.items():
        Path(name).write_text(text)
        Path(name).chmod(0o755)
    started = []

    def start(codes, flags=(), **environment):
        assert slurm.main(["--time=1:00:00", "--", *flags]) == 0
        Path("job.sh").write_text(capsys.readouterr().out)
        started.append(
            subprocess.Popen(
                ["bash", "job.sh"],
                stderr=subprocess.PIPE,
                text=True,
                env={
                    "PATH": f"{tmp_path}:/usr/bin:/bin",
                    "SLURM_JOB_ID": "4711",
                    "STAND_IN_CODES": json.dumps(codes),
                    "STAND_IN_TASKS": str(len(codes)),
                    **environment,
                },
            )
        )
        return started[-1]

    yield start
    for job in started:
        job.kill()
        job.communicate()


def finish(job):
    _, err = job.communicate(timeout=PATIENCE)
    return job.returncode, err


def wait_for_files(*names):
    end = time.monotonic() + PATIENCE
    while not all(Path(name).exists() for name in names):
        assert time.monotonic() < end, f"{names} did not come"
        time.sleep(0.02)


def signal_processes():
    """What SLURM does at the time limit: SIGTERM to all that belongs to the step, not to the shell of the job."""
    for group in json.loads(Path("srun.json").read_text())["groups"]:
        os.killpg(group, signal.SIGTERM)


def test_the_time_limit_reaches_every_process_all_save_and_the_job_is_requeued(make_job):
    job = make_job([75, 75, 75])
    wait_for_files("ready-0", "ready-1", "ready-2", "srun.json")
    signal_processes()
    code, err = finish(job)
    assert (code, err) == (0, "interrupted; back into the queue\n")
    assert all(Path(f"saved-{index}").exists() for index in range(3))
    assert json.loads(Path("scontrol.json").read_text()) == ["requeue", "4711"]
    assert json.loads(Path("srun.json").read_text())["options"] == ["--kill-on-bad-exit=0", "--wait=0"]
    assert Path("set-up").read_text() == "once "


@pytest.mark.parametrize(("codes", "expected"), [([0, 0], 0), ([2, 2], 2), ([0, 1], 1), ([-9, 1], 137)])
def test_a_run_that_is_complete_or_failed_is_not_requeued(make_job, codes, expected):
    assert finish(make_job(codes))[0] == expected
    assert not Path("scontrol.json").exists()


def test_a_failure_counts_more_than_an_interruption(make_job):
    job = make_job([75, 1])
    wait_for_files("ready-0", "given-1.json", "srun.json")
    os.killpg(json.loads(Path("srun.json").read_text())["groups"][0], signal.SIGTERM)
    assert finish(job)[0] == 1
    assert not Path("scontrol.json").exists()


def test_a_job_that_is_cancelled_is_not_requeued(make_job):
    """scancel signals the job's shell as well as the processes."""
    job = make_job([75])
    wait_for_files("ready-0", "srun.json")
    job.terminate()
    signal_processes()
    assert finish(job)[0] == -signal.SIGTERM
    wait_for_files("saved-0")
    assert not Path("scontrol.json").exists()


def test_a_failing_requeue_is_said(make_job):
    job = make_job([75], STAND_IN_REQUEUE="1")
    wait_for_files("ready-0", "srun.json")
    signal_processes()
    code, err = finish(job)
    assert code == 75
    assert err.splitlines()[-1].startswith("error: scontrol requeue 4711: failed")


def test_nothing_is_started_where_set_up_fails(make_job):
    assert finish(make_job([0], STAND_IN_SET_UP="3"))[0] == 3
    assert not Path("srun.json").exists()


def test_flags_arrive_unchanged_in_every_process(make_job):
    flags = [
        "--flagfile=my file.flags",
        "--a=x,y",
        "--b='single' \"double\"",
        "--c=$HOME `id` \\n",
        "--d=",
        "--e=*",
        "--",
    ]
    assert finish(make_job([0, 0], flags)) == (0, "")
    for index in range(2):
        assert json.loads(Path(f"given-{index}.json").read_text()) == ["train", *flags]


def directives(text):
    return [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")]


def test_what_the_job_asks_for(capsys):
    own = ["--nodes=4", "--ntasks_per_node=8", "--time=2-0:30", "--partition=gpu,big", "--seconds_to_save=300"]
    assert slurm.main([*own, "--", "--seed=3"]) == 0
    script = capsys.readouterr().out
    assert directives(script) == [
        "job-name=aux_rnn",
        "nodes=4",
        "ntasks-per-node=8",
        "time=2-0:30",
        "partition=gpu,big",
        "signal=TERM@300",
        "requeue",
        "open-mode=append",
        "output=aux_rnn-%j.log",
    ]
    assert "\nflags=(--flagfile=digits.flags --seed=3)\n" in script


def test_without_flags_it_trains_as_launch_sh_does_and_leaves_the_rest_to_the_cluster(capsys):
    assert slurm.main([]) == 0
    script = capsys.readouterr().out
    assert "\nflags=(--flagfile=digits.flags)\n" in script
    assert not any(line.startswith(("time", "partition")) for line in directives(script))


def test_a_file_is_written_once(tmp_path, capsys):
    output = f"--output={tmp_path}/job.sh"
    assert slurm.main([output]) == 0
    written = (tmp_path / "job.sh").read_text()
    assert written.startswith("#!/usr/bin/env bash\n#SBATCH")
    assert slurm.main([output, "--nodes=2"]) == 2
    assert (tmp_path / "job.sh").read_text() == written
    assert capsys.readouterr().err == f"error: {output}: must be a new file in a folder that exists (File exists)\n"


@pytest.mark.parametrize(
    ("time_limit", "seconds"),
    [("90", 5400), ("90:30", 5430), ("1:30:30", 5430), ("2-3", 183600), ("2-3:30", 185400), ("2-3:30:15", 185415)],
)
def test_time_limits_are_read_as_sbatch_reads_them(time_limit, seconds):
    assert slurm.seconds_of(time_limit) == seconds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nodes=0"], "error: --nodes: '0': must be an integer from 1"),
        (["--time=soon"], "error: --time: 'soon': must be minutes"),
        (["--partition=a b"], "error: --partition: 'a b': must be the name of a partition"),
        (["--seed=3"], "error: unrecognized arguments: --seed=3; flags of main.py go after --"),
        (["--node=3"], "error: unrecognized arguments: --node=3"),
        (["--time=3:00"], "error: --time=3:00: must be more than the 180 seconds that"),
        (["--output=/nonexistent/job.sh"], "error: --output=/nonexistent/job.sh: must be a new file"),
    ],
)
def test_a_mistake_gets_one_line(arguments, message, capsys):
    assert slurm.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_the_command_needs_no_environment(tmp_path):
    """With a Python that has nothing but its standard library."""
    command = ["bash", str(LAUNCH_SH), "slurm", "--nodes=2"]
    environment = {"PATH": os.environ["PATH"], "VENV": str(tmp_path / "none"), "PYTHONNOUSERSITE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "#SBATCH --nodes=2" in done.stdout
    assert f"launch={LAUNCH_SH}" in done.stdout
    assert not (tmp_path / "none").exists()
