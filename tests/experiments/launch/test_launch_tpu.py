"""The managed job for a Cloud TPU: the command that starts it, and its file as SkyPilot reads it."""

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
TASK = ROOT / "experiments/launch/tpu.yaml"
IMAGES = [("v5litepod-16", "v2-alpha-tpuv5-lite"), ("tpu-v5p-8", "v2-alpha-tpuv5"), ("v6e-32", "v2-alpha-tpuv6e")]


@pytest.fixture
def dry_run(tmp_path):
    """Runs `./launch.sh tpu`, which only shows the command; returns the command and the content of its file."""

    def run(*arguments):
        environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
        argv = [str(ROOT / "launch.sh"), "tpu", "my-run", "--workdir=gs://bucket/my/run", "--dry_run", *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        command = shlex.split(done.stdout)
        return command, yaml.safe_load(Path(command[-1]).read_text())

    return run


@pytest.mark.parametrize(("accelerator", "image"), IMAGES)
def test_command_and_image_fit_the_accelerator(accelerator, image, dry_run):
    command, task = dry_run(f"--accelerator={accelerator}", "--no-use-spot", "--", "--flagfile=cifar.flags")
    variables = ["--env", "WORKDIR=gs://bucket/my/run", "--env", "FLAGS=--flagfile=cifar.flags "]
    gpus = f"--gpus=tpu-{accelerator.removeprefix('tpu-')}"
    assert command[:-1] == ["sky", "jobs", "launch", "--name=my-run", gpus, *variables, "--no-use-spot"]
    assert task["resources"]["accelerator_args"]["runtime_version"] == image


def test_flags_arrive_unchanged(dry_run):
    flags = ["--a=x y", "--b='single' \"double\"", "--c=$HOME `id` \\n", "--d=", "--e=*"]
    command, task = dry_run("--accelerator=v6e-8", "--", *flags)
    (variable,) = [word for word in command if word.startswith("FLAGS=")]
    environment = {"FLAGS": variable.removeprefix("FLAGS="), "WORKDIR": "gs://bucket/my/run"}
    run = task["run"].replace("./launch.sh train", "printf '%s\\n'")
    done = subprocess.run(["bash", "-c", run], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [*flags, "--workdir=gs://bucket/my/run"]


def test_skypilot_accepts_the_job(monkeypatch):
    """Checks names and types of the fields; accelerators and zones can only be checked with a connection."""
    sky = pytest.importorskip("sky", reason="needs SkyPilot: EXTRAS=sky ./launch.sh test")
    monkeypatch.chdir(ROOT)  # the working folder is relative
    task = sky.Task.from_yaml_config(yaml.safe_load(TASK.read_text()), env_overrides=[("WORKDIR", "gs://bucket/run")])
    (resources,) = task.resources
    assert resources.use_spot
    assert resources.job_recovery["recover_on_exit_codes"] == [75]
