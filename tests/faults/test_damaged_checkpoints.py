"""Damaged files of a run: restored with the right values, passed over, or refused; never wrong values."""

import random
import shutil

import jax
import numpy as np
import pytest
from faulty import BAD_INPUT, command, run, snapshot
from test_checkpoints import METAS, STATES, save_all

from aux_rnn.storage.checkpoints import read_latest

pytestmark = pytest.mark.faults


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
    return save_all(tmp_path_factory.mktemp("saved") / "checkpoints")


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_of_any_file_gives_wrong_values(damage, saved, tmp_path):
    files = sorted(path.relative_to(saved) for path in (saved / "3").rglob("*") if path.is_file())
    assert len(files) > 8
    passed_over = 0
    for number, file in enumerate(files):
        folder = tmp_path / str(number) / "checkpoints"
        shutil.copytree(saved, folder)
        DAMAGES[damage](folder / file, random.Random(f"{damage} {number}"))
        state, meta = read_latest(folder, STATES[1])
        step = int(state.step)
        assert step in (2, 3), file
        jax.tree.map(np.testing.assert_array_equal, state, STATES[step])
        assert meta == METAS[step], file
        passed_over += step == 2
    assert passed_over, "no damage was met"


@pytest.fixture
def workdir(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run")


def test_strays_and_a_damaged_checkpoint_change_nothing(workdir, undisturbed):
    folder = workdir / "checkpoints"
    newest, older = sorted((int(path.name) for path in folder.iterdir()), reverse=True)[:2]
    (folder / str(newest) / "meta/metadata").write_bytes(b"")
    shutil.copytree(folder / str(older), folder / f"{newest + 1}")  # under the name of another step
    (folder / f"{newest + 2}").mkdir()  # an interrupted copy of a step that will be saved
    (folder / f"{newest + 3}.orbax-checkpoint-tmp/state").mkdir(parents=True)
    (folder / "abc").mkdir()
    (folder / "abc/note.txt").write_text("mine")
    ended = undisturbed.check_continued(workdir, command(workdir, undisturbed.data_dir))
    assert f"continues after step {older} of" in ended.err
    assert f"checkpoint {newest} " in ended.err
    assert f"checkpoint {newest + 1} " in ended.err
    assert (folder / "abc/note.txt").read_text() == "mine"


def test_no_intact_checkpoint_is_refused_and_nothing_is_lost(workdir, undisturbed):
    for meta in workdir.glob("checkpoints/*/meta/metadata"):
        meta.write_bytes(b"")
    before = snapshot(workdir)
    run(command(workdir, undisturbed.data_dir)).check_stopped(BAD_INPUT, str(workdir), "none of the checkpoints")
    assert snapshot(workdir) == before
