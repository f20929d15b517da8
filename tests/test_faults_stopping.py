"""Kills and signals at any moment of the command: started again, it ends as if nothing had happened."""

import dataclasses
import itertools
import json
import random
import signal
import time
from pathlib import Path

import pytest
from faulty import INTERRUPTED, Moment, after, both, command, exists, find_stage, later, loaded, shown, start

pytestmark = pytest.mark.faults


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a run that is disturbed works, on data that it has to prepare itself."""

    workdir: Path
    data_dir: Path

    @property
    def argv(self):
        return command(self.workdir, self.data_dir)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "run", tmp_path / "data")


def find_moment(name, place, undisturbed) -> Moment:
    """A moment by its name: an event and where it is repeated a number, or `at random` and a number.

    What follows an event within some time is drawn at random; the number is the seed.
    """
    event, number = name.rsplit(" ", 1)
    draw = random.Random(number).random()
    if event == "at random":
        # From the start of the interpreter to a little after the end; preparing data takes its time beside the rest.
        return after(draw * 1.2 * undisturbed.seconds)
    saving = exists(place.workdir / "checkpoints", "*.orbax-checkpoint-tmp*")
    return {
        "import": later(loaded("jaxlib"), draw),
        "preparation": exists(place.data_dir, "*/incomplete*"),
        "compilation": later(exists(place.workdir, "checkpoints"), draw),
        "first save": saving,
        "save": both(shown(f"train {4 + int(number)}/"), saving),
        "evaluation": shown("train 6/15  loss"),
        "last step": later(shown("train 15/15  loss"), draw / 2),
        "end": exists(place.workdir, "summary.json"),
    }[event]


MOMENTS = [
    *("import 0", "preparation 0", "compilation 0", "save 0", "last step 0"),
    *("import 1", "preparation 1", "compilation 1", "first save 0", "save 1", "save 3", "save 7"),
    *("evaluation 0", "last step 1", "end 0"),
    *(f"at random {number}" for number in range(15)),
]
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def cases(moments, always, signals=()):
    """The parameters of a test: all moments, each with the next of the signals; most of them are slow."""
    found = []
    for name, number in zip(moments, itertools.cycle(signals or [None]), strict=False):
        values, words = ([name, number], f"{name} {number.name}") if number else ([name], name)
        found.append(pytest.param(*values, marks=[] if name in always else pytest.mark.slow, id=words))
    return found


@pytest.mark.parametrize("moment", cases(MOMENTS, always=("save 0",)))
def test_a_killed_run_continues(moment, place, undisturbed, record_property):
    with start(place.argv) as program:
        came = program.freeze(find_moment(moment, place, undisturbed))
        stage = find_stage(program, place.workdir, place.data_dir)
        if came:
            program.send(signal.SIGKILL)
        assert program.end().code == (-signal.SIGKILL if came else 0)
    record_property("hit", f"kill: {stage if came else 'nothing'}")
    if stage != "end":
        assert not (place.workdir / "summary.json").exists()
    undisturbed.check_continued(place.workdir, place.argv)


@pytest.mark.parametrize(
    ("moment", "number"),
    cases(MOMENTS, always=("compilation 0",), signals=SIGNALS),
)
def test_a_run_stopped_by_a_signal_continues(moment, number, place, undisturbed, record_property):
    with start(place.argv) as program:
        came = program.freeze(find_moment(moment, place, undisturbed))
        stage = find_stage(program, place.workdir, place.data_dir)
        if came:
            program.send(number)
            program.send(signal.SIGCONT)
        ended = program.end()
    record_property("hit", f"{number.name}: {stage if came else 'nothing'}")
    summary = place.workdir / "summary.json"
    status = json.loads(summary.read_text())["status"] if summary.exists() else None
    # A signal that arrives before main can have taken it over ends the interpreter as it ends any program.
    early = {-number} if stage == "interpreter" else set()
    assert ended.code in ({0} if status == "complete" else {INTERRUPTED} | early), ended.err
    if ended.code != -number:
        assert "Traceback" not in ended.err
    if stage in ("save", "evaluation", "steps"):
        assert status in ("interrupted", "complete")
    undisturbed.check_continued(place.workdir, place.argv)


@pytest.mark.parametrize(
    ("moment", "number"),
    cases(["save 0", *MOMENTS[5:15]], always=("save 0",), signals=SIGNALS),
)
def test_a_second_signal_ends_a_run_at_once_and_harms_nothing(moment, number, place, undisturbed, record_property):
    with start(place.argv) as program:
        program.freeze(find_moment(moment, place, undisturbed))
        program.send(number)
        program.send(signal.SIGCONT)
        time.sleep(0.02)  # two signals of a kind that wait for their delivery are one
        program.send(number)
        ended = program.end()
    record_property("hit", f"two signals: exit {ended.code}")
    # The first may have done its work before the second arrives.
    assert ended.code in (-number, INTERRUPTED, 0), ended.err
    undisturbed.check_continued(place.workdir, place.argv)
