"""The wheel, in an environment of its own and far from the repository."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROGRAM = """
import pathlib, sys
import numpy as np
import aux_rnn
assert pathlib.Path(aux_rnn.__file__).is_relative_to(sys.prefix), aux_rnn.__file__
for name in ("py.typed", "plots/report.html.jinja"):
    assert (pathlib.Path(aux_rnn.__file__).parent / name).exists()
from importlib.metadata import version
assert version("aux_rnn") == aux_rnn.__version__
fitted = aux_rnn.fit(np.ones((9, 6, 1)), np.arange(9) % 3, segment_length=2, hidden_size=4, head_sizes=(4,),
                     decoder_sizes=(4,), decoder_head_sizes=(4,), batch_size=4, pretrain_epochs=0, train_epochs=1)
print(fitted.summary["status"], fitted.logits(np.ones((2, 6, 1))).shape)
"""


@pytest.mark.slow
def test_the_wheel_works_away_from_the_repository(tmp_path, monkeypatch):
    """Takes the dependencies from the environment of the tests, which has them from the same declaration."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    source, own = tmp_path / "source", tmp_path / "venv"
    shutil.copytree(ROOT / "aux_rnn", source / "aux_rnn", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("aux_rnn-*.whl")
    venv.create(own)
    python = str(own / "bin/python")
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True, cwd=tmp_path)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(own), "platbase": str(own)}))
    # A folder named in a .pth file is searched last, and .pth files in it, as of an editable install, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(source)
    done = subprocess.run([python, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "complete (2, 3)"
