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


DAMAGES = {
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "a bit": flip_a_bit,
    "deleted": lambda path: path.unlink(),
}
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


CASES = [("train.array_record*", "a bit"), ("train.array_record*", "deleted"), ("dataset_info.json", "emptied")]
CASES += [("test.array_record*", "half of it"), ("train.array_record*", "emptied")]


@pytest.mark.parametrize(
    ("name", "damage"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.long) for case in CASES[1:])]
)
def test_damaged_records_are_refused_and_after_repair_the_run_continues(name, damage, texts, tmp_path):
    folder = shutil.copytree(texts, tmp_path / "copy")
    (record,) = folder.glob(f"data/sequential_dbpedia/*/*{name}")
    content = record.read_bytes()
    DAMAGES[damage](record)
    before = snapshot(folder)
    run(command_on_texts(folder, "run")).check_stopped(BAD_INPUT, str(record.parent))
    assert snapshot(folder) == before
    record.write_bytes(content)
    assert run(command_on_texts(folder, "run")).code == 0
    assert read_end(folder / "run") == read_end(texts / "alone")


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_official_file_is_refused_and_after_repair_the_run_continues(damage, texts, tmp_path):
    folder = shutil.copytree(texts, tmp_path / "copy")
    shutil.rmtree(folder / "data")
    archive = folder / "manual/dbpedia/dbpedia_csv.tar.gz"
    content = archive.read_bytes()
    DAMAGES[damage](archive)
    before = snapshot(folder / "run")
    run(command_on_texts(folder, "run")).check_stopped(BAD_INPUT, "dbpedia_csv.tar.gz")
    assert snapshot(folder / "run") == before
    assert not [path for path in (folder / "data").rglob("*") if path.is_file()]
    archive.write_bytes(content)
    assert run(command_on_texts(folder, "run")).code == 0
    assert read_end(folder / "run") == read_end(texts / "alone")


def test_an_official_file_that_is_cut_short_is_refused_and_kept(tmp_path):
    path = tmp_path / "manual/mnist/train-images-idx3-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1f\x8b" + bytes(1000))
    argv = command(tmp_path / "run", tmp_path / "data", "--dataset=mnist", f"--manual_dir={tmp_path / 'manual'}")
    run(argv).check_stopped(BAD_INPUT, f"{path}: wrong checksum")
    assert path.stat().st_size == 1002
