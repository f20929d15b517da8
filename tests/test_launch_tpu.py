"""`./launch.sh tpu` against a stand-in for gcloud, which writes down what it is asked and answers from a script.

Where the script says so, orders to workers run under a real bash, in a folder for each worker, with a stand-in for the
launch.sh that lies there. The cloud itself is in no test.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching.verdicts import judge

ROOT = Path(__file__).parent.parent
ON_WORKER = ROOT / "experiments/launching/on_worker.sh"
PATIENCE = 30  # seconds that nothing here takes, even on a busy machine
WORKDIR = "gs://bucket/my run"
NEEDED = ["--zone=z-1", "--project=proj", "--accelerator=v5litepod-8", f"--workdir={WORKDIR}"]

# Answers each kind of command from its list in script.json; the last answer stays. Written down in calls.jsonl.
GCLOUD = f"""#!{sys.executable} -IS
import fcntl, json, os, sys, time

here = os.path.dirname(os.path.abspath(sys.argv[0]))
words = sys.argv[1:]
verb = next(w for w in words if w in ("create", "describe", "delete", "scp", "ssh", "cat", "ls"))
order = next((w.removeprefix("--command=") for w in words if w.startswith("--command=")), "")
if verb == "ssh":
    verb = next(name for name in ("install", "train", "stop") if f"on_worker.sh {{name}}" in order)
with open(f"{{here}}/lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    with open(f"{{here}}/calls.jsonl", "a") as calls:
        print(json.dumps([verb, words]), file=calls)
    with open(f"{{here}}/script.json") as file:
        script = json.load(file)
    answers = script[verb]
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    with open(f"{{here}}/script.json", "w") as file:
        json.dump(script, file)
print(answer.get("out", ""), end="", flush=True)
print(answer.get("err", ""), end="", file=sys.stderr, flush=True)
time.sleep(answer.get("sleep", 0))
homes = [f"{{here}}/worker-{{i}}" for i in range(script["workers"] if answer.get("run") else 0)]
if homes:
    import subprocess, tarfile
if verb == "scp":
    for home in homes:
        os.makedirs(home, exist_ok=True)
        source, target = words[words.index("scp") + 1 :][:2]
        target = f"{{home}}/{{target.partition(':')[2]}}"
        with tarfile.open(source) as packed, tarfile.open(target, "w:gz") as new:
            for member in packed:
                if member.name == "launch.sh":
                    member.size = os.path.getsize(f"{{here}}/launch.sh")
                    new.addfile(member, open(f"{{here}}/launch.sh", "rb"))
                elif member.name.startswith("experiments/launching"):
                    new.addfile(member, packed.extractfile(member))
elif homes:
    started = [subprocess.Popen(["bash", "-c", order], cwd=home, env={{**os.environ, "HOME": home}}) for home in homes]
    sys.exit(next((code for process in started if (code := process.wait())), 0))
sys.exit(answer.get("code", 0))
"""
# On a worker: writes down its arguments and does what script.json has for its number.
WORKER_LAUNCH = f"""#!{sys.executable} -IS
import json, os, signal, sys, time
home = os.environ["HOME"]
with open(f"{{home}}/given.jsonl", "a") as file:
    print(json.dumps([*sys.argv[1:], os.environ["VENV"], os.environ["EXTRAS"]]), file=file)
if sys.argv[1] == "test":
    sys.exit(0)
with open(f"{{home}}/../script.json") as file:
    script = json.load(file)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print(*script["lines"][int(home[-1])], sep="\\n", file=sys.stderr, flush=True)
if script["codes"][int(home[-1])] is None:
    time.sleep(90)
sys.exit(script["codes"][int(home[-1])])
"""


def state(name, **data):
    return {"out": json.dumps({"state": {"state": name, **data}})}


def ended(*codes, code=0, text=""):
    """An answer to `train` by workers that ended with these codes."""
    return {"out": text + "".join(f"\naux_rnn: exit code {c}\n" for c in codes), "code": code}


def failing(text):
    return {"code": 1, "err": f"ERROR: (gcloud.compute.tpus.something) {text}\nsome advice\n"}


def summary(status, steps=0):
    return {"out": json.dumps({"status": status, "steps": steps})}


MISSING = failing("NOT_FOUND: Resource 'projects/proj/my-slice' was not found.")
NO_FILE = {"code": 1, "err": "ERROR: (gcloud.storage.cat) The following URLs matched no objects or files:\ngs://...\n"}
ACTIVE = state("ACTIVE")
# A slice that has to be made and a run that is complete, in which a test changes what it is about.
ALL_WELL = {
    "describe": [MISSING, state("WAITING_FOR_RESOURCES"), state("PROVISIONING"), ACTIVE],
    "create": [{}],
    "scp": [{}],
    "install": [ended(0)],
    "train": [ended(0)],
    "stop": [{}],
    "cat": [summary("complete", 40)],
    "ls": [NO_FILE],
    "delete": [{}],
    "workers": 1,
}
STEPS = ["describe", "create", "describe", "describe", "describe", "scp", "install", "train", "cat", "delete"]


class Cloud:
    """The stand-in, and what was asked of it."""

    def __init__(self, folder):
        self.folder = folder
        for name, text in {"gcloud": GCLOUD, "launch.sh": WORKER_LAUNCH}.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def start(self, *flags, main_flags=("--flagfile=digits.flags",), arguments=None, **script):
        (self.folder / "script.json").write_text(json.dumps({**ALL_WELL, **script}))
        own = ["my-slice", *NEEDED, "--poll_seconds=0.02", *flags] if arguments is None else arguments
        self.process = subprocess.Popen(
            ["bash", str(ROOT / "launch.sh"), "tpu", *own, "--", *main_flags],
            env={
                **os.environ,
                "PATH": f"{self.folder}:{os.environ['PATH']}",
                "PYTHON": sys.executable,
                "VENV": "/nonexistent",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """The exit code, standard output and the lines of standard error."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err.splitlines()

    def run(self, *flags, **script):
        self.start(*flags, **script)
        return self.finish()

    @property
    def calls(self):
        file = self.folder / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def verbs(self):
        return [verb for verb, _ in self.calls]

    def asked(self, verb):
        """The words of the first such command."""
        return next(words for name, words in self.calls if name == verb)

    def given(self, worker):
        return [json.loads(line) for line in (self.folder / f"worker-{worker}/given.jsonl").read_text().splitlines()]

    def wait_for(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "did not happen"
            time.sleep(0.02)


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path)
    yield cloud
    process = getattr(cloud, "process", None)
    if process is not None:
        process.kill()
        process.communicate()


def test_a_slice_is_made_used_and_deleted(cloud):
    code, out, err = cloud.run("--spot", train=[ended(0, text="step 1\nstep 40")])
    assert (code, out) == (0, "step 1\nstep 40\n")
    assert err[-1] == f"complete; {WORKDIR} holds what came out"
    assert cloud.verbs == STEPS
    assert shlex.join(cloud.asked("create")) == (
        "compute tpus queued-resources create my-slice --node-id=my-slice --accelerator-type=v5litepod-8 "
        "--runtime-version=v2-alpha-tpuv5-lite --spot --zone=z-1 --project=proj --quiet"
    )
    assert shlex.join(cloud.asked("delete")) == (
        "compute tpus queued-resources delete my-slice --force --zone=z-1 --project=proj --quiet"
    )
    assert cloud.asked("cat") == ["storage", "cat", f"{WORKDIR}/summary.json", "--quiet"]
    for verb in ("scp", "install", "train"):
        assert {"--worker=all", "--zone=z-1", "--project=proj", "--quiet"} <= set(cloud.asked(verb))


def test_a_dry_run_prints_the_same_commands_and_runs_none(cloud):
    code, out, err = cloud.run("--dry_run", "--spot")
    assert (code, err, cloud.calls) == (0, [], [])
    printed = [shlex.split(line) for line in out.splitlines() if line.startswith("gcloud")]
    cloud.run("--spot", describe=[MISSING, ACTIVE])
    done = [["gcloud", *words] for _, words in cloud.calls]
    scp = next(number for number, words in enumerate(done) if "scp" in words)
    done[scp][done[scp].index("scp") + 1] = "/tmp/aux_rnn.tar.gz"  # but for a folder of its own
    assert printed == done


@pytest.mark.parametrize(
    ("accelerator", "version"),
    [("v4-8", "tpu-ubuntu2204-base"), ("v5p-8", "v2-alpha-tpuv5"), ("v6e-4", "v2-alpha-tpuv6e")],
)
def test_each_accelerator_has_its_image(cloud, accelerator, version):
    assert f"--runtime-version={version} " in cloud.run(f"--accelerator={accelerator}", "--dry_run")[1]


def test_flags_and_code_arrive_unchanged_on_all_workers(cloud):
    flags = [
        "--dataset=mnist",
        "--a=x y",
        "--b=1,2",
        "--c='one' \"two\"",
        "--d=$HOME `id` $(id)",
        "--e=*;&|<>",
        "--f=",
        "--g=two\nlines",
        "--",
    ]
    code, _, err = cloud.run(
        main_flags=flags,
        workers=2,
        lines=[["step 1"], []],
        codes=[0, 0],
        **{v: [{"run": True}] for v in ("scp", "install", "train")},
    )
    assert code == 0, err
    for worker in range(2):
        home = cloud.folder / f"worker-{worker}"
        settings = [str(home / "aux_rnn-venv"), "gcs,tpu"]
        assert cloud.given(worker) == [
            ["test", "--version", *settings],
            ["train", f"--workdir={WORKDIR}", *flags, *settings],
        ]
        assert (home / "aux_rnn/experiments/launching/on_worker.sh").read_bytes() == ON_WORKER.read_bytes()


def test_the_error_of_a_run_stops_all_and_is_the_last_that_is_seen(cloud):
    code, out, err = cloud.run(
        workers=2,
        lines=[["error: --seed=x: must be an integer"], []],
        codes=[2, 2],
        cat=[NO_FILE],
        **{verb: [{"run": True}] for verb in ("scp", "install", "train")},
    )
    assert code == 2
    assert "error: --seed=x: must be an integer" in out
    assert err[-1] == "error: --seed=x: must be an integer (exit code 2 on my-slice)"
    assert cloud.verbs.count("create") == cloud.verbs.count("delete") == cloud.verbs.count("train") == 1
    assert cloud.verbs[-1] == "delete"


def test_a_failed_training_is_no_preemption(cloud):
    code, _, err = cloud.run(train=[ended(1, code=1, text="error: disk full")], cat=[summary("failed", 3)])
    assert (code, err[-1]) == (1, "error: disk full (exit code 1 on my-slice)")
    assert cloud.verbs.count("create") == cloud.verbs.count("delete") == 1


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ("describe", "gcloud compute tpus queued-resources describe my-slice"),
        ("create", "gcloud compute tpus queued-resources create my-slice"),
        ("scp", "gcloud compute tpus tpu-vm scp "),
        ("install", "gcloud compute tpus tpu-vm ssh my-slice"),
    ],
)
def test_a_command_that_fails_is_named_in_one_line_and_what_was_made_is_deleted(cloud, step, name):
    code, _, err = cloud.run(**{step: [failing("PERMISSION_DENIED: no")]})
    assert code == 1
    assert err[-1].startswith(f"error: {name}")
    assert err[-1].endswith("exit code 1: PERMISSION_DENIED: no")
    assert cloud.verbs.count("delete") == (step != "describe")
    assert "train" not in cloud.verbs


def test_what_cannot_be_deleted_is_said(cloud):
    code, _, err = cloud.run(delete=[failing("INTERNAL: no")])
    assert code == 1
    assert cloud.verbs.count("delete") == 5
    command = "gcloud compute tpus queued-resources delete my-slice --force --zone=z-1 --project=proj --quiet"
    assert err[-1] == f"error: my-slice could not be deleted and costs money: {command}"


def test_a_name_that_somebody_takes_meanwhile_is_left_alone(cloud):
    code, _, err = cloud.run(create=[failing("ALREADY_EXISTS: Resource 'my-slice' already exists")])
    assert code == 1
    assert "already exists" in err[-1]
    assert "delete" not in cloud.verbs


def test_a_slice_that_is_there_is_used_and_left(cloud):
    code, _, err = cloud.run(describe=[state("PROVISIONING"), ACTIVE])
    assert code == 0
    assert "my-slice is there already; it is used and not deleted" in err
    assert cloud.verbs == ["describe", "describe", "scp", "install", "train", "cat"]


def test_a_slice_that_is_there_is_left_after_an_error_and_after_a_preemption(cloud):
    assert cloud.run(describe=[ACTIVE], scp=[failing("no")])[0] == 1
    code, _, err = cloud.run(
        describe=[ACTIVE, ACTIVE, state("SUSPENDED")],
        train=[failing("terminal state")],
        cat=[summary("interrupted", 3)],
    )
    assert code == 75
    assert "was not made by this command" in err[-1]
    assert "delete" not in cloud.verbs
    assert "create" not in cloud.verbs


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (state("SUSPENDED"), "error: my-slice: there is one already, in state SUSPENDED; choose another"),
        (
            {
                "out": json.dumps(
                    {"state": {"state": "ACTIVE"}, "tpu": {"nodeSpec": [{"node": {"acceleratorType": "v4-8"}}]}}
                )
            },
            "error: --accelerator=v5litepod-8: my-slice is there already, a v4-8",
        ),
    ],
)
def test_a_slice_that_will_not_do_is_refused(cloud, found, message):
    code, _, err = cloud.run(describe=[found])
    assert code == 2
    assert err[-1].startswith(message)
    assert cloud.verbs == ["describe"]


def test_keep_leaves_the_slice(cloud):
    code, _, err = cloud.run("--keep")
    assert code == 0
    assert "delete" not in cloud.verbs
    assert any(line.startswith("my-slice is kept and costs money; to delete it: gcloud") for line in err)


PREEMPTED = state("SUSPENDED")


@pytest.mark.parametrize(
    ("end", "is_there", "left_by_the_run"),
    [
        (ended(75, code=75), PREEMPTED, summary("interrupted", 7)),  # it was told, and has saved
        (ended(75, code=75), ACTIVE, summary("interrupted", 7)),  # the state is behind
        ({**failing("has terminal state PREEMPTED"), "code": 255}, PREEMPTED, NO_FILE),  # gone without a word
        (failing("NOT_FOUND: node"), MISSING, NO_FILE),  # all of it is gone
        (ended(1, code=1, text="error: process 1 is lost"), PREEMPTED, NO_FILE),  # an error only because of that
    ],
)
def test_a_preempted_slice_is_made_again_and_the_run_goes_on(cloud, end, is_there, left_by_the_run):
    code, _, err = cloud.run(
        describe=[MISSING, ACTIVE, is_there, ACTIVE],
        train=[end, ended(0)],
        cat=[left_by_the_run, left_by_the_run, summary("complete", 40)],
    )
    assert code == 0, err
    needed = ["describe", "scp", "install", "train"]
    assert [verb for verb in cloud.verbs if verb not in ("cat", "ls")] == [
        *["describe", "create", *needed, "describe", "delete"],
        *["create", *needed, "delete"],
    ]
    assert any("the slice is made again, and the run continues" in line for line in err)


def test_a_slice_that_is_preempted_before_the_code_is_there_is_made_again(cloud):
    code, _, _ = cloud.run(describe=[MISSING, ACTIVE, PREEMPTED, ACTIVE], scp=[failing("no such host"), {}])
    assert code == 0
    assert cloud.verbs.count("create") == cloud.verbs.count("delete") == 2


def test_a_slice_that_is_preempted_while_it_is_waited_for_is_made_again(cloud):
    code, _, _ = cloud.run(describe=[MISSING, state("PROVISIONING"), state("SUSPENDING"), state("SUSPENDING"), ACTIVE])
    assert code == 0
    assert cloud.verbs.count("create") == cloud.verbs.count("delete") == 2


def test_a_request_that_fails_ends_with_its_reason(cloud):
    failure = state("FAILED", failedData={"error": {"message": "no capacity"}})
    code, _, err = cloud.run(describe=[MISSING, failure])
    assert (code, err[-1]) == (1, "error: my-slice: FAILED: no capacity")
    assert cloud.verbs[-1] == "delete"


def test_a_lost_connection_goes_on_with_the_run_on_the_same_slice(cloud):
    lost = {"code": 255, "err": "ERROR: (gcloud.compute.tpus.tpu-vm.ssh) [ssh] exited with return code [255].\n"}
    code, _, err = cloud.run(train=[lost, ended(0)], cat=[NO_FILE, NO_FILE, summary("complete", 40)])
    assert code == 0, err
    assert cloud.verbs.count("create") == cloud.verbs.count("install") == 1
    assert cloud.verbs.count("train") == 2


def test_a_network_that_is_gone_for_a_while_is_waited_for(cloud):
    gone = failing("network is unreachable")
    code, _, err = cloud.run(describe=[MISSING, gone, gone, gone, ACTIVE])
    assert code == 0
    assert sum("network is unreachable; asking again" in line for line in err) == 3


def test_without_progress_it_is_given_up(cloud):
    code, _, err = cloud.run(
        describe=[MISSING, ACTIVE],
        train=[ended(139, code=139)],
        cat=[NO_FILE],
        ls=[{"out": f"{WORKDIR}/checkpoints/12/\n"}],
    )
    assert code == 1
    assert cloud.verbs.count("train") == 5
    assert err[-1].startswith(
        "error: 5 attempts without progress beyond step 12; the last: gcloud compute tpus tpu-vm ssh"
    )
    assert cloud.verbs[-1] == "delete"


def test_progress_between_preemptions_is_seen_by_the_checkpoints(cloud):
    """A run that is killed leaves no summary of how far it came."""
    listings = [
        {"out": f"{WORKDIR}/checkpoints/{step}/\n{WORKDIR}/checkpoints/{step + 5}/\n"} for step in range(10, 80, 10)
    ]
    code, _, _ = cloud.run(
        describe=[MISSING, ACTIVE], train=[*[ended(137, code=137)] * 7, ended(0)], cat=[NO_FILE], ls=listings
    )
    assert code == 0
    assert cloud.verbs.count("train") == 8


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_the_run_save_and_deletes_the_slice(cloud, number):
    cloud.start(
        workers=2,
        lines=[["step 1"], []],
        codes=[None, None],
        cat=[summary("interrupted", 1)],
        **{verb: [{"run": True}] for verb in ("scp", "install", "train", "stop")},
    )
    assert cloud.process.stdout.readline() == "step 1\n"
    cloud.wait_for(lambda: (cloud.folder / "worker-1/given.jsonl").read_text().count("\n") == 2)
    cloud.process.send_signal(number)
    code, _, err = cloud.finish()
    assert (code, err[-1]) == (75, "error: stopped; the same command continues the run")
    assert cloud.verbs[-4:] == ["train", "stop", "cat", "delete"]


def test_a_second_stop_does_not_wait_for_the_run(cloud):
    cloud.start(train=[{"out": "step 1\n", "sleep": 90}])
    assert cloud.process.stdout.readline() == "step 1\n"
    cloud.process.terminate()
    cloud.wait_for(lambda: "stop" in cloud.verbs)
    cloud.process.terminate()
    code, _, _ = cloud.finish()
    assert code == 75
    assert cloud.verbs[-2:] == ["stop", "delete"]


def test_a_stop_while_the_slice_is_waited_for_deletes_the_request(cloud):
    cloud.start("--poll_seconds=600", describe=[MISSING, state("WAITING_FOR_RESOURCES")])
    cloud.wait_for(lambda: cloud.verbs.count("describe") == 2)
    cloud.process.terminate()
    assert cloud.finish()[0] == 75
    assert cloud.verbs == ["describe", "create", "describe", "delete"]


def test_a_stop_during_set_up_does_not_wait_for_it(cloud):
    cloud.start(install=[{"sleep": 90}])
    cloud.wait_for(lambda: "install" in cloud.verbs)
    cloud.process.terminate()
    assert cloud.finish()[0] == 75
    assert cloud.verbs[-2:] == ["install", "delete"]


@pytest.mark.parametrize(
    ("codes", "workers", "status", "verdict"),
    [
        ([0, 0], 2, "", "COMPLETE"),
        ([], 2, "complete", "COMPLETE"),  # the connection was lost at the very end
        ([2, 2], 2, "complete", "FAILED"),  # other settings on a run that is complete
        ([2], 2, "", "LOST"),  # one never saw another
        ([1, 75], 2, "failed", "FAILED"),
        ([1], 2, "interrupted", "LOST"),  # one misses another
        ([1, 137], 2, "interrupted", "LOST"),
        ([75, 75], 2, "interrupted", "INTERRUPTED"),
        ([75], 2, "interrupted", "LOST"),
        ([], 1, "", "LOST"),
        ([139], 1, "interrupted", "LOST"),
    ],
)
def test_what_became_of_an_attempt(codes, workers, status, verdict):
    assert judge(codes, workers, status).name == verdict


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: the following arguments are required: NAME, --zone, --accelerator, --project, --workdir"),
        (["x", *NEEDED[1:]], "error: the following arguments are required: --zone"),
        (["X", *NEEDED], "error: NAME: 'X': must be lower-case letters, digits and hyphens"),
        (["x", *NEEDED[:3], "--workdir=/runs/x"], "error: --workdir: '/runs/x': must be gs://BUCKET/PATH"),
        (["x", *NEEDED[:3], "--workdir=gs://bucket"], "error: --workdir: 'gs://bucket': must be gs://BUCKET/PATH"),
        (["x", *NEEDED, "--zone="], "error: --zone: '': must be a name of Google's: zone"),
        (["x", *NEEDED, "--seed=1"], "error: unrecognized arguments: --seed=1; flags of main.py go after --"),
        (["x", *NEEDED, "--poll_seconds=0"], "error: --poll_seconds=0.0: must be above 0"),
        (["x", *NEEDED, "--", "--workdir=gs://b/x"], "error: --workdir: goes before --"),
    ],
)
def test_a_mistake_gets_one_line_before_anything_is_asked(cloud, arguments, message):
    code, out, err = cloud.run(arguments=arguments)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith(message)
    assert not cloud.calls


def test_a_missing_gcloud_gets_one_line(tmp_path):
    for name in ("bash", "dirname"):
        (tmp_path / name).symlink_to(f"/bin/{name}" if Path(f"/bin/{name}").exists() else f"/usr/bin/{name}")
    command = ["bash", str(ROOT / "launch.sh"), "tpu", "my-slice", *NEEDED]
    environment = {"PATH": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: gcloud: not on the PATH")
    assert done.stderr.count("\n") == 1
