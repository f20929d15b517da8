"""Two runs at once: one workdir belongs to one of them, and data is prepared by both without harm."""

import contextlib

import pytest
from faulty import IN_USE, command, read_end, start

pytestmark = pytest.mark.faults


def run_at_once(*argvs):
    """Starts all commands at the same moment; returns their ends."""
    with contextlib.ExitStack() as stack:
        programs = [stack.enter_context(start(argv)) for argv in argvs]
        return [program.end() for program in programs]


ROUNDS = [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 5))]


@pytest.mark.parametrize("number", ROUNDS)
def test_one_workdir_is_used_by_one_of_two_runs(number, tmp_path, undisturbed):
    workdir = tmp_path / "run"
    ended = run_at_once(*[command(workdir, undisturbed.data_dir)] * 2)
    (refused,) = [each for each in ended if each.code]
    refused.check_stopped(IN_USE, f"--workdir={workdir}: another run is using it")
    assert read_end(workdir) == undisturbed.end


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_two_runs_prepare_the_same_data_at_once(number, tmp_path, undisturbed):
    workdirs = [tmp_path / "first", tmp_path / "second"]
    ended = run_at_once(*[command(workdir, tmp_path / "data") for workdir in workdirs])
    for workdir, each in zip(workdirs, ended, strict=True):
        assert each.code == 0, each.err[-2000:]
        assert "Traceback" not in each.err
        assert read_end(workdir) == undisturbed.end
    assert [path.name for path in (tmp_path / "data/sequential_digits").iterdir()] == ["1.0.0"]
