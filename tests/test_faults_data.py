"""Damaged data: one line, nothing lost, and after repair the run goes on to the same end."""

import csv
import io
import random
import shutil
import tarfile

import pytest
from faulty import BAD_INPUT, INTERRUPTED, command, interrupt, read_end, run, snapshot

from aux_rnn.datasets.texts import SequentialDbpedia

pytestmark = pytest.mark.faults


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1  # what follows the last record is padding
    path.write_bytes(content)


DAMAGES = {
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "a bit": flip_a_bit,
    "deleted": lambda path: path.unlink(),
}


@pytest.fixture
def folder(interrupted, undisturbed, tmp_path):
    """Holds an interrupted run and its data."""
    shutil.copytree(undisturbed.data_dir, tmp_path / "data")
    shutil.copytree(interrupted, tmp_path / "run")
    return tmp_path


CASES = [("test.array_record*", "a bit"), ("train.array_record*", "deleted"), ("dataset_info.json", "emptied")]
CASES += [("test.array_record*", "half of it"), ("train.array_record*", "emptied")]


@pytest.mark.parametrize(
    ("name", "damage"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])]
)
def test_damaged_records_are_refused_and_after_repair_the_run_goes_on(name, damage, folder, undisturbed):
    (record,) = folder.glob(f"data/sequential_digits/*/*{name}")
    content = record.read_bytes()
    DAMAGES[damage](record)
    before = snapshot(folder)
    argv = command(folder / "run", folder / "data")
    run(argv).check_stopped(BAD_INPUT, str(record.parent))
    assert snapshot(folder) == before
    record.write_bytes(content)
    undisturbed.check_continued(folder / "run", argv)


def write_articles(folder):
    """A part of DBpedia in the official layout: articles of random words."""
    draw = random.Random(0)
    contents = {"classes.txt": "\n".join(SequentialDbpedia.class_names) + "\n"}
    for split, count in (("train", 30), ("test", 10)):
        rows = [(n % 14 + 1, f"Title {n}", " ".join(f"{draw.random():.9f}" for _ in range(9))) for n in range(count)]
        stream = io.StringIO()
        csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
        contents[f"{split}.csv"] = stream.getvalue()
    folder.mkdir(parents=True)
    archive = folder / "dbpedia_csv.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"dbpedia_csv/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content.encode()))
    return archive


TEXTS = ("--dataset=dbpedia", "--image_size=0", "--sequence_length=16")


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_official_file_is_refused_and_after_repair_the_run_goes_on(damage, tmp_path):
    archive = write_articles(tmp_path / "manual/dbpedia")
    flags = (*TEXTS, f"--manual_dir={tmp_path / 'manual'}")
    assert run(command(tmp_path / "alone", tmp_path / "data", *flags)).code == 0
    argv = command(tmp_path / "run", tmp_path / "data", *flags)
    assert interrupt(argv).code == INTERRUPTED
    shutil.rmtree(tmp_path / "data")
    content = archive.read_bytes()
    DAMAGES[damage](archive)
    before = snapshot(tmp_path / "run")
    run(argv).check_stopped(BAD_INPUT, "dbpedia_csv.tar.gz")
    assert snapshot(tmp_path / "run") == before
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
    archive.write_bytes(content)
    assert run(argv).code == 0
    assert read_end(tmp_path / "run") == read_end(tmp_path / "alone")


def test_an_official_file_that_is_cut_short_is_refused_and_kept(tmp_path):
    path = tmp_path / "manual/mnist/train-images-idx3-ubyte.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x1f\x8b" + bytes(1000))
    argv = command(tmp_path / "run", tmp_path / "data", "--dataset=mnist", f"--manual_dir={tmp_path / 'manual'}")
    run(argv).check_stopped(BAD_INPUT, f"{path}: wrong size, 1,002 bytes instead of the official 9,912,422")
    assert path.stat().st_size == 1002
