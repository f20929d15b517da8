"""The wheel, installed into a folder of its own and used away from the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
import pathlib, sys
import numpy as np
import aux_rnn
assert pathlib.Path(aux_rnn.__file__).is_relative_to(sys.argv[1]), aux_rnn.__file__
for name in ("py.typed", "plots/report.html.jinja"):
    assert (pathlib.Path(aux_rnn.__file__).parent / name).exists()
from importlib.metadata import version
assert version("aux_rnn") == aux_rnn.__version__
fitted = aux_rnn.fit(np.ones((9, 6, 1)), np.arange(9) % 3, segment_length=2, hidden_size=4, head_sizes=(4,),
                     decoder_sizes=(4,), decoder_head_sizes=(4,), batch_size=4, pretrain_epochs=0, train_epochs=1)
print(fitted.summary["status"], fitted.logits(np.ones((2, 6, 1))).shape)
"""


@pytest.mark.slow
def test_the_wheel_works_away_from_the_repository(tmp_path):
    """Takes the dependencies from the environment of the tests, which has them from the same declaration."""
    source, packages = tmp_path / "source", tmp_path / "packages"
    shutil.copytree(ROOT / "aux_rnn", source / "aux_rnn", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    install = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    subprocess.run([*install, "--no-build-isolation", f"--target={packages}", str(source)], check=True, cwd=tmp_path)
    shutil.rmtree(source)
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    argv = [sys.executable, "-c", PROGRAM, str(packages)]
    done = subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "complete (2, 3)"
