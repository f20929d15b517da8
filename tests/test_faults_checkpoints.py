"""Damaged checkpoints: restored with the right values, or passed over for an older one; never wrong values."""

import random
import shutil

import jax
import numpy as np
import pytest
from faulty import BAD_INPUT, command, read_end, run, snapshot

from aux_rnn.checkpoints import Checkpoints

pytestmark = pytest.mark.faults

STATES = {
    step: {
        "params": {"kernel": np.linspace(-step, step, 600, dtype=np.float32).reshape(30, 20), "bias": np.zeros(7)},
        "step": np.int32(step),
        "key": np.array([step, 7], np.uint32),
    }
    for step in (1, 2, 3)
}
METAS = {step: {"seconds": {"train": 1.5 * step}, "results": {"test": {"accuracy": 0.25 * step}}} for step in STATES}


def flip_a_bit(path, draw):
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


DAMAGES = {
    "deleted": lambda path, draw: path.unlink(),
    "half of it": lambda path, draw: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path, draw: path.write_bytes(b""),
    **{f"bit {number}": flip_a_bit for number in range(12)},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Three checkpoints; never written to."""
    folder = tmp_path_factory.mktemp("saved") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step, state in STATES.items():
        checkpoints.save(step, state, METAS[step])
    checkpoints.wait()
    checkpoints.close()
    return folder


def restore(folder):
    """The step, state and meta data that are restored; the first is what the state itself says."""
    checkpoints = Checkpoints(folder)
    try:
        state, meta = checkpoints.restore_latest(STATES[1])
    finally:
        checkpoints.close()
    return int(state["step"]), state, meta


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_of_any_file_gives_wrong_values(damage, saved, tmp_path):
    files = sorted(path.relative_to(saved) for path in (saved / "3").rglob("*") if path.is_file())
    assert len(files) > 8
    passed_over = 0
    for number, file in enumerate(files):
        folder = tmp_path / str(number) / "checkpoints"
        shutil.copytree(saved, folder)
        DAMAGES[damage](folder / file, random.Random(f"{damage} {number}"))
        step, state, meta = restore(folder)
        assert step in (2, 3), file
        jax.tree.map(np.testing.assert_array_equal, state, STATES[step])
        assert {name: meta[name] for name in METAS[step]} == METAS[step], file
        assert (folder.parent / "damaged-checkpoint-3").exists() == (step == 2), file
        passed_over += step == 2
    assert passed_over, "no damage was met"


@pytest.fixture
def workdir(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run")


def newest_steps(workdir):
    return sorted((int(path.name) for path in (workdir / "checkpoints").iterdir()), reverse=True)


def test_strays_and_a_damaged_checkpoint_change_nothing(workdir, undisturbed):
    folder = workdir / "checkpoints"
    newest, older = newest_steps(workdir)[:2]
    (folder / str(newest) / "meta/metadata").write_bytes(b"")
    (folder / f"{newest + 1}").write_text("mine")
    (folder / f"{newest + 2}").mkdir()  # as an interrupted copy leaves it, of a step that will be saved
    (folder / "abc").mkdir()
    (folder / "abc/note.txt").write_text("mine")
    (folder / f"{newest + 3}.orbax-checkpoint-tmp/state").mkdir(parents=True)
    ended = undisturbed.check_continued(workdir, command(workdir, undisturbed.data_dir))
    assert f"continues after step {older} of" in ended.err
    assert f"checkpoint {newest} " in ended.err or f"checkpoint-{newest}" in ended.err
    assert (workdir / f"damaged-checkpoint-{newest}").is_dir()
    for kept in (f"{newest + 1}", "abc/note.txt"):
        assert (folder / kept).read_text() == "mine"


def spoil_all(*folders):
    for meta in (path for folder in folders for path in folder.glob("*/meta/metadata")):
        meta.write_bytes(b"")


def test_no_intact_checkpoint_is_refused_and_nothing_is_lost(workdir, undisturbed):
    spoil_all(workdir / "checkpoints", workdir / "best")
    before = snapshot(workdir)
    run(command(workdir, undisturbed.data_dir)).check_stopped(BAD_INPUT, str(workdir), "none of the checkpoints")
    assert snapshot(workdir) == before


@pytest.mark.slow
def test_without_an_intact_newest_checkpoint_the_best_is_taken(workdir, undisturbed):
    spoil_all(workdir / "checkpoints")
    undisturbed.check_continued(workdir, command(workdir, undisturbed.data_dir))


@pytest.mark.slow
def test_a_checkpoint_under_the_name_of_another_step_is_no_checkpoint(workdir, undisturbed):
    newest, older = newest_steps(workdir)[:2]
    shutil.copytree(workdir / f"checkpoints/{older}", workdir / f"checkpoints/{newest + 1}")
    undisturbed.check_continued(workdir, command(workdir, undisturbed.data_dir))


@pytest.mark.slow
def test_a_file_in_place_of_the_checkpoints_is_refused(workdir, undisturbed):
    shutil.rmtree(workdir / "checkpoints")
    (workdir / "checkpoints").write_text("mine")
    run(command(workdir, undisturbed.data_dir)).check_stopped(BAD_INPUT, str(workdir / "checkpoints"))
    assert (workdir / "checkpoints").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["deleted", "half of it", "emptied"])
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
def test_a_damaged_file_of_a_run_is_made_good_or_refused(name, damage, workdir, undisturbed):
    DAMAGES[damage](workdir / name, random.Random(0))
    before = snapshot(workdir)
    ended = run(command(workdir, undisturbed.data_dir))
    if ended.code == 0:
        assert read_end(workdir) == undisturbed.end
    else:
        ended.check_stopped(BAD_INPUT, str(workdir), name)
        assert snapshot(workdir) == before
