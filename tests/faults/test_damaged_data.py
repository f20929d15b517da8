"""Damaged data: one line, nothing lost, and after repair the run continues to the same end."""

import shutil

import pytest
from faulty import BAD_INPUT, INTERRUPTED, command, interrupt, read_end, run, snapshot
from official import write_dbpedia

pytestmark = pytest.mark.faults


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    used = [place for place, byte in enumerate(content) if byte]  # blocks are padded with zeros, which are not checked
    content[used[len(used) // 2]] ^= 1
    path.write_bytes(content)


DAMAGES = {"a bit": flip_a_bit, "deleted": lambda path: path.unlink()}
TEXTS = ("--dataset=dbpedia", "--image_size=0", "--sequence_length=16", "--allow_partial")


def command_on_texts(folder, name):
    return command(folder / name, folder / "data", *TEXTS, f"--manual_dir={folder / 'manual'}")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Holds official files, prepared data, a run that was left alone, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("texts")
    write_dbpedia(folder / "manual/dbpedia")
    assert run(command_on_texts(folder, "alone")).code == 0
    assert interrupt(command_on_texts(folder, "run")).code == INTERRUPTED
    return folder


@pytest.mark.parametrize("damage", ["a bit", pytest.param("deleted", marks=pytest.mark.long)])
def test_damaged_data_is_refused_and_after_repair_the_run_continues(damage, texts, tmp_path):
    folder = shutil.copytree(texts, tmp_path / "copy")
    (file,) = folder.glob("data/sequential_dbpedia/*/*train.array_record*")
    content = file.read_bytes()
    DAMAGES[damage](file)
    before = snapshot(folder)
    run(command_on_texts(folder, "run")).check_stopped(BAD_INPUT, str(file.parent))
    assert snapshot(folder) == before
    file.write_bytes(content)
    assert run(command_on_texts(folder, "run")).code == 0
    assert read_end(folder / "run") == read_end(texts / "alone")
