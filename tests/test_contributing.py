"""Applies the diffs of CONTRIBUTING.md to a copy of the code and trains with each."""

import re
import shutil
import subprocess

import pytest
from faulty import ROOT, command, read_metrics, run

DIFFS = dict(
    re.findall(r"^\*\*A ([\w ]+)\*\*.*?```diff\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
)
# The flags of a run with each change, and a part of what it prints.
RUNS = {
    "data set": (("--dataset=waves", "--image_size=0"), "data set    waves"),
    "recurrent cell": (("--encoder=optimized",), "OptimizedLSTM on digits"),
    "metric": ((), " top 2 "),
    "setting": (("--optimizer=sgd", "--momentum=0.9"), "complete after 3 steps"),
}


@pytest.mark.parametrize("change", RUNS)
def test_each_diff_applies_and_is_short(change, tmp_path):
    for folder in ("aux_rnn", "experiments"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["git", "apply", "-"], input=DIFFS[change], cwd=tmp_path, text=True, check=True)
    changed = [line for line in DIFFS[change].splitlines() if re.match(r"[+-](?![+-]{2} )", line)]
    assert len(changed) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("change", RUNS)
def test_a_run_with_each_change(change, tmp_path, data_dir):
    flags, expected = RUNS[change]
    argv = command(tmp_path / "run", data_dir, "--auxiliary=none", "--train_epochs=1", *flags)
    if change == "metric":  # continues a run that was started without it
        assert run(argv).code == 0
        before = read_metrics(tmp_path / "run")
        (tmp_path / "run/summary.json").unlink()
        shutil.rmtree(tmp_path / "run/checkpoints/3")
    test_each_diff_applies_and_is_short(change, tmp_path)
    argv[1] = str(tmp_path / "experiments/main.py")
    ended = run(argv, tmp_path)
    assert ended.code == 0, ended.err
    assert expected in ended.out + ended.err
    if change == "metric":
        assert "continues after step 2" in ended.err
        for old, new in zip(before, read_metrics(tmp_path / "run"), strict=True):
            numbers = {name: value for name, value in old.items() if isinstance(value, float)}
            assert {name: new[name] for name in numbers} == pytest.approx(numbers, rel=1e-4)
