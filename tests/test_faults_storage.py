"""A disk that is full, that cannot be written, or that loses the run: one line, and nothing that was there is lost."""

import resource
import shutil
import signal
from contextlib import closing

import pytest
from faulty import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    STEPS,
    command,
    interrupt,
    read_end,
    run,
    shown,
    snapshot,
    start,
)
from small_disk import NoDiskError, SmallDisk

pytestmark = pytest.mark.faults

FULL = "No space left on device"


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mounted = SmallDisk(folder)
    except NoDiskError as error:
        pytest.skip(f"no small disk can be mounted here ({error})")
    with closing(mounted):
        yield mounted


@pytest.fixture
def workdir(disk):
    """As the program sees it."""
    return disk.inside / "run"


@pytest.fixture
def seen(disk):
    """The same folder as the tests see it."""
    return disk.outside / "run"


def newest_checkpoint(folder):
    steps = [int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit()]
    return f"checkpoints/{max(steps)}" if steps else ""


def run_full(disk, argv, moment, leave=0):
    """Runs a command on a disk that is full from a moment on; returns its end."""
    with start([*disk.enter, *argv]) as program:
        assert program.freeze(moment), program.err
        disk.fill(leave)
        program.send(signal.SIGCONT)
        return program.end()


# What stays in the page of a file that has begun is free, so the first that fails is what the run has most of.
CASES = {
    "checkpoint": ([], 0),
    "part of a checkpoint": ([], 40 << 10),
    "metrics.jsonl": (["--checkpoint_every_steps=1000"], 0),
}


@pytest.mark.parametrize("case", ["checkpoint", *(pytest.param(name, marks=pytest.mark.slow) for name in [*CASES][1:])])
def test_a_disk_that_fills_during_a_run_loses_nothing(case, disk, workdir, seen, undisturbed):
    flags, leave = CASES[case]
    argv = command(workdir, undisturbed.data_dir, *flags)
    ended = run_full(disk, argv, shown("train 5/"), leave)
    newest = newest_checkpoint(seen)
    disk.make_room()
    undisturbed.check_continued(seen, [*disk.enter, *argv])
    ended.check_stopped(FAILED, str(workdir), newest, FULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "has_begun", "code", "newest"),
    [
        ("summary.json", False, FAILED, f"checkpoints/{STEPS}"),
        ("config.json", False, BAD_INPUT, ""),
        ("metrics.jsonl", True, BAD_INPUT, ""),
    ],
)
def test_one_file_without_room_loses_nothing(name, has_begun, code, newest, tmp_path, interrupted, undisturbed):
    """What is written into it goes to a device that is always full."""
    workdir = tmp_path / "run"
    if has_begun:
        shutil.copytree(interrupted, workdir)
    else:
        workdir.mkdir()
    (workdir / f"{name}.partial").symlink_to("/dev/full")
    ended = run(command(workdir, undisturbed.data_dir))
    (workdir / f"{name}.partial").unlink(missing_ok=True)
    undisturbed.check_continued(workdir, command(workdir, undisturbed.data_dir))
    ended.check_stopped(code, str(workdir), newest, FULL)


@pytest.mark.slow
def test_a_stop_on_a_full_disk_loses_nothing(disk, workdir, seen, undisturbed):
    argv = command(workdir, undisturbed.data_dir)
    with start([*disk.enter, *argv]) as program:
        assert program.freeze(shown("train 5/"))
        disk.fill()
        program.send(signal.SIGTERM)
        program.send(signal.SIGCONT)
        ended = program.end()
    newest = newest_checkpoint(seen)
    disk.make_room()
    undisturbed.check_continued(seen, [*disk.enter, *argv])
    ended.check_stopped(FAILED, str(workdir), newest, FULL)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start_is_refused(disk, workdir, seen, undisturbed):
    argv = command(workdir, undisturbed.data_dir)
    disk.fill()
    ended = run([*disk.enter, *argv])
    disk.make_room()
    undisturbed.check_continued(seen, [*disk.enter, *argv])
    ended.check_stopped(BAD_INPUT, str(workdir), FULL)


@pytest.mark.slow
@pytest.mark.parametrize("leave", [0, 64 << 10, 400 << 10])
def test_a_disk_that_fills_while_data_is_prepared_is_refused(leave, disk, tmp_path, undisturbed):
    argv = command(tmp_path / "run", disk.inside / "data")
    disk.fill(leave)
    run([*disk.enter, *argv]).check_stopped(BAD_INPUT, str(disk.inside / "data"), "space")
    assert not (tmp_path / "run/config.json").exists()
    disk.make_room()
    undisturbed.check_continued(tmp_path / "run", [*disk.enter, *argv])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "limit"),
    [
        pytest.param([], 4096, id="checkpoint"),
        pytest.param(["--checkpoint_every_steps=1000"], 2048, id="metrics.jsonl"),
    ],
)
def test_files_that_may_not_grow_lose_nothing(flags, limit, tmp_path, undisturbed):
    """The system refuses to write in another way than by a full disk: a quota is the usual one."""
    argv = command(tmp_path / "run", undisturbed.data_dir, *flags)
    with start(argv) as program:
        assert program.freeze(shown("train 5/"))
        resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        program.send(signal.SIGCONT)
        ended = program.end()
    newest = newest_checkpoint(tmp_path / "run")
    undisturbed.check_continued(tmp_path / "run", argv)
    ended.check_stopped(FAILED, str(tmp_path / "run"), newest, "File too large")


@pytest.mark.slow
@pytest.mark.parametrize("has_begun", [False, True])
def test_a_read_only_disk_is_refused_and_left_as_it_is(has_begun, disk, workdir, seen, undisturbed):
    argv = [*disk.enter, *command(workdir, undisturbed.data_dir)]
    if has_begun:
        assert interrupt(argv).code == INTERRUPTED
    before = snapshot(seen)
    disk.remount("ro")
    run(argv).check_stopped(BAD_INPUT, str(workdir), "Read-only file system")
    assert snapshot(seen) == before
    disk.remount("rw")
    undisturbed.check_continued(seen, argv)


def test_a_file_in_place_of_the_workdir_is_refused_and_kept(tmp_path, undisturbed):
    (tmp_path / "run").write_text("mine")
    run(command(tmp_path / "run", undisturbed.data_dir)).check_stopped(BAD_INPUT, f"--workdir={tmp_path / 'run'}")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["", "checkpoints"])
@pytest.mark.parametrize("moment", ["train 5/", "train 15/15  loss"])
def test_a_folder_deleted_during_the_run_gets_its_line(lost, moment, tmp_path, undisturbed):
    workdir = tmp_path / "run"
    with start(command(workdir, undisturbed.data_dir)) as program:
        assert program.freeze(shown(moment))
        shutil.rmtree(workdir / lost)
        program.send(signal.SIGCONT)
        ended = program.end()
    if ended.code == 0:  # it was able to write all of it anew
        assert read_end(workdir) == undisturbed.end
        return
    again = run(command(workdir, undisturbed.data_dir))
    if again.code:  # what the first has left there is refused
        again.check_stopped(BAD_INPUT, str(workdir))
    else:
        assert read_end(workdir) == undisturbed.end
    ended.check_stopped(FAILED, str(workdir))
