"""Kills, signals and failed writes at any moment of a run: the same command ends as if nothing had happened."""

import itertools
import json
import random
import resource
import signal
import time
from types import SimpleNamespace

import pytest
from faulty import FAILED, IN_USE, INTERRUPTED, Moment, command, exists, later, loaded, read_end, shown, start

pytestmark = pytest.mark.faults


@pytest.fixture
def place(tmp_path, request):
    """Returns the folder of a run that is disturbed, which prepares its data itself, and its command."""
    is_drawn = request.node.callspec.params.get("moment", "") in ("evaluation 0", "last step 0", "end 0")
    argv = command(tmp_path / "run", tmp_path / "data", *["--pictures"] * is_drawn)
    return SimpleNamespace(workdir=tmp_path / "run", argv=argv)


def find_moment(name, place, undisturbed) -> Moment:
    """Returns a moment by its name: an event and a number, or 'at random' and a number, which is the seed."""
    event, number = name.rsplit(" ", 1)
    draw = random.Random(number).random()
    if event == "at random":
        seconds = draw * 1.2 * undisturbed.seconds
        return lambda program: time.monotonic() >= program.started + seconds
    saving = exists(place.workdir / "checkpoints", "*.orbax-checkpoint-tmp*")
    return {
        "import": later(loaded("jaxlib"), draw),
        "compilation": later(exists(place.workdir, "checkpoints"), draw),
        "first save": saving,
        "save": lambda program: shown(f"train {4 + int(number)}/")(program) and saving(program),
        "evaluation": shown("train 6/15  loss"),
        "last step": later(shown("train 15/15  loss"), draw / 2),
        "end": exists(place.workdir, "summary.json"),
    }[event]


MOMENTS = [
    *("import 0", "compilation 0", "save 0", "last step 0"),
    *("import 1", "compilation 1", "compilation 2", "first save 0", "save 1", "save 3", "save 5", "save 7"),
    *("evaluation 0", "last step 1", "end 0"),
    *(f"at random {number}" for number in range(15)),
]
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def cases(moments, always, signals):
    """Returns the parameters of a test: all moments, each with the next of the signals; all except one are long."""
    return [
        pytest.param(name, number, marks=[] if name == always else pytest.mark.long, id=f"{name} {number.name}")
        for name, number in zip(moments, itertools.cycle(signals), strict=False)
    ]


def disturb(place, moment, undisturbed, number):
    """Sends a signal at the moment; returns the end of the run."""
    with start(place.argv) as program:
        program.wait_for(find_moment(moment, place, undisturbed))
        program.send(number)
        return program.end()


def read_status(place):
    summary = place.workdir / "summary.json"
    return json.loads(summary.read_text())["status"] if summary.exists() else None


@pytest.mark.parametrize(("moment", "number"), cases(MOMENTS, "save 0", [signal.SIGKILL]))
def test_a_killed_run_continues(moment, number, place, undisturbed):
    assert disturb(place, moment, undisturbed, number).code in (-number, 0)
    assert read_status(place) in (None, "complete")
    undisturbed.check_continued(place.workdir, place.argv)


@pytest.mark.parametrize(("moment", "number"), cases(MOMENTS, "compilation 0", SIGNALS))
def test_a_run_stopped_by_a_signal_continues(moment, number, place, undisturbed):
    ended = disturb(place, moment, undisturbed, number)
    status = read_status(place)
    # A signal before main has installed its handlers ends the interpreter as it ends any program.
    is_early = moment.startswith("at random") and not (place.workdir / "checkpoints").exists()
    assert ended.code in ({0} if status == "complete" else {INTERRUPTED, -number} if is_early else {INTERRUPTED})
    assert "Traceback" not in ended.err or ended.code == -number, ended.err
    if any(line.startswith(("pretrain ", "train ")) for line in ended.err.splitlines()):
        assert status in ("interrupted", "complete")
    undisturbed.check_continued(place.workdir, place.argv)


@pytest.mark.long
def test_a_signal_while_xla_compiles_ends_the_run_at_once(tmp_path, undisturbed, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    monkeypatch.setattr("faulty.XLA_FLAGS", "")
    large = "--decoder_sizes=256,256,256", "--hidden_size=256"  # compiles for seconds
    with start(command(tmp_path / "run", undisturbed.data_dir, *large)) as program:
        program.wait_for(later(shown("sequences of"), 3))
        program.send(signal.SIGTERM)
        program.end().check_stopped(INTERRUPTED, "nothing was lost")


@pytest.mark.parametrize(("moment", "number"), cases(["save 0", *MOMENTS[7:11]], "save 0", SIGNALS))
def test_a_second_signal_ends_a_run_at_once_and_harms_nothing(moment, number, place, undisturbed):
    with start(place.argv) as program:
        program.wait_for(find_moment(moment, place, undisturbed))
        program.send(number)
        time.sleep(0.02)  # Two pending signals of a kind are delivered as one.
        program.send(number)
        ended = program.end()
    # The first may have done its work before the second arrives.
    assert ended.code in (-number, INTERRUPTED, 0), ended.err
    undisturbed.check_continued(place.workdir, place.argv)


@pytest.mark.long
@pytest.mark.parametrize(
    ("flag", "limit"), [("--checkpoint_every_steps=2", 4096), ("--checkpoint_every_steps=99", 2048)]
)
def test_a_run_whose_writes_fail_continues_once_they_succeed(flag, limit, tmp_path, undisturbed):
    """A limit on the size of files stands for a full disk: checkpoints fail by the first, records by the second."""
    argv = command(tmp_path / "run", undisturbed.data_dir, flag)
    with start(argv) as program:
        assert program.wait_for(shown("train 5/"))
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        assert program.end().code == FAILED
    undisturbed.check_continued(tmp_path / "run", argv)


def test_one_workdir_is_used_by_one_of_two_runs(tmp_path, undisturbed):
    argv = command(tmp_path / "run", undisturbed.data_dir)
    with start(argv) as first, start(argv) as second:
        (refused,) = [each for each in (first.end(), second.end()) if each.code]
    refused.check_stopped(IN_USE, f"--workdir={tmp_path / 'run'}: another run is using it")
    assert read_end(tmp_path / "run") == undisturbed.end
