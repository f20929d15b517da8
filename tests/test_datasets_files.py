"""Official files: parsing them, verifying them, finding them, downloading them. No test uses the network."""

import dataclasses
import gzip
import hashlib
import io
import struct
import tarfile
import threading
import time
import urllib.error

import numpy as np
import pytest

from aux_rnn.datasets import archives, builders, download, locating, parsing, sources
from aux_rnn.datasets.errors import DataError


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_gz(path, content):
    path.write_bytes(gzip.compress(content))
    return path


def official(name, content):
    return sources.OfficialFile(name, len(content), hashlib.sha256(content).hexdigest())


CONTENT = {"first.gz": b"one", "second.gz": b"three"}
SOURCE = sources.Source("toys", "https://example.org/toys/", tuple(official(*item) for item in CONTENT.items()))
UNPACKED = {"a.bin": b"a" * 10, "b.bin": b"b" * 10}
ARCHIVE_SOURCE = sources.Source(
    "toys",
    "https://example.org/",
    (official("toys.tar.gz", b"not read here"),),
    "toys-bin",
    tuple(official(*item) for item in UNPACKED.items()),
)


def refuse(url, timeout):
    raise urllib.error.URLError("network is unreachable")


def serve(contents):
    """An opener that answers from a dictionary and remembers what it was asked for."""

    def opener(url, timeout):
        opener.urls.append(url)
        return io.BytesIO(contents[url.rsplit("/", 1)[1]])

    opener.urls = []
    return opener


# Parsing.


def test_idx_file_is_read(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = write_gz(tmp_path / "images.gz", idx_bytes(images))
    np.testing.assert_array_equal(parsing.read_idx(path, (0, 3, 4)), images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: gzip.compress(b"\0\0\x09" + raw[3:]), r"starts with 00000903 instead of 00000803"),
        (lambda raw: gzip.compress(b""), "starts with nothing"),
        (lambda raw: gzip.compress(raw[:-1]), "23 bytes of data instead of 24"),
        (lambda raw: gzip.compress(raw + b"x"), "25 bytes of data instead of 24"),
        (lambda raw: gzip.compress(raw[:9]), r"header says shape \(2, 0, 0\) instead of \(0, 3, 4\)"),
        (lambda raw: gzip.compress(raw)[:-12], "damaged or no gzip file"),
        (lambda raw: raw, "damaged or no gzip file"),
    ],
)
def test_damaged_idx_file_is_refused(tmp_path, change, message):
    path = tmp_path / "images.gz"
    path.write_bytes(change(idx_bytes(np.zeros((2, 3, 4), np.uint8))))
    with pytest.raises(DataError, match=message) as caught:
        parsing.read_idx(path, (0, 3, 4))
    assert str(path) in str(caught.value)


def cifar_record(label, red, green, blue):
    return bytes([label]) + bytes([red]) * 1024 + bytes([green]) * 1024 + bytes([blue]) * 1024


def test_cifar_batch_is_parsed_into_channels_last():
    first_row = bytes([7]) + bytes(range(32)) + bytes(3040)
    images, labels = parsing.parse_cifar_batch(cifar_record(3, 10, 20, 30) + first_row, "batch")
    assert images.shape == (2, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.tolist() == [3, 7]
    assert np.unique(images[0].reshape(-1, 3), axis=0).tolist() == [[10, 20, 30]]
    assert images[1, 0, :, 0].tolist() == list(range(32))
    assert images[1].sum() == sum(range(32))


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3073 * 2 + 1)])
def test_cifar_batch_of_wrong_length_is_refused(content):
    with pytest.raises(DataError, match=r"batch: damaged, [\d,]+ bytes are no whole number of 3,073-byte records"):
        parsing.parse_cifar_batch(content, "batch")


def test_labels_are_checked():
    images = np.zeros((2, 1, 1, 1), np.uint8)
    parsing.check_examples(images, np.array([0, 9]), 10, "toys")
    with pytest.raises(DataError, match="toys: damaged, label 10 is none of the 10 classes"):
        parsing.check_examples(images, np.array([0, 10]), 10, "toys")
    with pytest.raises(DataError, match="2 images but 1 labels"):
        parsing.check_examples(images, np.array([0]), 10, "toys")


def write_tar(path, members, links=()):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
    return path


def test_only_the_expected_members_of_an_archive_are_read(tmp_path):
    members = [("../outside", b"evil"), ("toys/b", b"22"), ("toys/a", b"1"), ("toys/c", b"333")]
    path = write_tar(tmp_path / "toys.tar.gz", members)
    assert list(archives.read_members(path, {"toys/a": 1, "toys/b": 2})) == [("toys/b", b"22"), ("toys/a", b"1")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["toys.tar.gz"]


def test_damaged_archives_are_refused(tmp_path):
    path = write_tar(tmp_path / "toys.tar.gz", [("a", b"1"), ("a", b"2"), ("big", bytes(range(256)) * 400)], ["link"])
    for sizes, message in (
        ({"a": 1, "missing": 1}, "a is not the expected regular file"),
        ({"a": 2}, "a is not the expected regular file"),
        ({"link": 0}, "link is not the expected regular file"),
        ({"missing": 1}, "it lacks missing"),
    ):
        with pytest.raises(DataError, match=message):
            list(archives.read_members(path, sizes))
    whole = path.read_bytes()
    for content in (whole[:600], whole[:20], b"no archive"):
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            list(archives.read_members(path, {"big": 256 * 400}))


# The builders, fed with small files.


def test_mnist_builder_reads_its_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), np.uint8)
    builder = builders.SequentialMnist(data_dir=tmp_path)
    builder.files = {
        sources.MNIST_TEST_IMAGES: write_gz(tmp_path / "images.gz", idx_bytes(images)),
        sources.MNIST_TEST_LABELS: write_gz(tmp_path / "labels.gz", idx_bytes(np.array([1, 2, 3], np.uint8))),
    }
    examples = list(builder._generate_examples("test"))
    assert [(key, example["label"]) for key, example in examples] == [(0, 1), (1, 2), (2, 3)]
    np.testing.assert_array_equal(np.stack([example["image"] for _, example in examples])[..., 0], images)
    write_gz(tmp_path / "labels.gz", idx_bytes(np.array([1, 2, 30], np.uint8)))
    with pytest.raises(DataError, match="test split of sequential_mnist: damaged, label 30"):
        list(builder._generate_examples("test"))


def test_cifar_builder_reads_the_archive_as_it_reads_the_folder(tmp_path, monkeypatch):
    names = (*sources.CIFAR10_TRAIN, *sources.CIFAR10_TEST)
    batches = {name: cifar_record(number, number, 0, 0) for number, name in enumerate(names)}
    monkeypatch.setattr(sources, "CIFAR10_BATCH_BYTES", 3073)
    members = [(f"cifar-10-batches-bin/{name}", content) for name, content in reversed(batches.items())]
    archive = write_tar(tmp_path / "cifar.tar.gz", members)
    for name, content in batches.items():
        (tmp_path / name).write_bytes(content)
    for files in ({sources.CIFAR10_ARCHIVE: archive}, {name: tmp_path / name for name in names}):
        builder = builders.SequentialCifar10(data_dir=tmp_path)
        builder.files = files
        labels = {split: [e["label"] for _, e in builder._generate_examples(split)] for split in ("train", "test")}
        assert labels == {"train": [0, 1, 2, 3, 4], "test": [5]}


def test_builder_without_files_says_what_to_call(tmp_path):
    with pytest.raises(DataError, match=r"prepare it with aux_rnn.datasets.prepare"):
        builders.SequentialMnist(data_dir=tmp_path)._split_generators(None)


# Finding and verifying.


@pytest.mark.parametrize("subfolder", ["", "toys"])
def test_manual_files_are_found_with_and_without_subfolder(tmp_path, subfolder):
    folder = tmp_path / "manual" / subfolder
    folder.mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    found = locating.locate_files(SOURCE, tmp_path / "manual", tmp_path / "downloads", refuse)
    assert found == {name: folder / name for name in CONTENT}
    assert not (tmp_path / "downloads").exists()


def test_unpacked_folder_serves_as_well_as_the_archive(tmp_path):
    folder = tmp_path / "toys-bin"
    folder.mkdir()
    for name, content in UNPACKED.items():
        (folder / name).write_bytes(content)
    found = locating.locate_files(ARCHIVE_SOURCE, tmp_path, tmp_path / "downloads", refuse)
    assert found == {name: folder / name for name in UNPACKED}
    (folder / "b.bin").unlink()
    with pytest.raises(
        DataError, match=r"toys.tar.gz \(or its unpacked folder toys-bin, which lacks b.bin\) not found"
    ):
        locating.locate_files(ARCHIVE_SOURCE, tmp_path, tmp_path / "downloads", refuse)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"thr33", "wrong checksum, sha256 [0-9a-f]{64} instead"),
        (b"th", "wrong size, 2 bytes instead of the official 5"),
    ],
)
def test_a_file_that_is_not_the_official_one_is_refused_and_kept(tmp_path, content, message):
    (tmp_path / "first.gz").write_bytes(CONTENT["first.gz"])
    path = tmp_path / "second.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        locating.locate_files(SOURCE, tmp_path, tmp_path / "downloads", refuse)
    assert str(path) in str(caught.value)
    assert "move it away and get it again from https://example.org/toys/" in str(caught.value)
    assert path.read_bytes() == content


def test_a_folder_or_a_dead_link_under_the_files_name_is_refused(tmp_path):
    (tmp_path / "first.gz").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        locating.locate_files(SOURCE, tmp_path, tmp_path / "downloads", refuse)


def test_missing_data_without_network_says_what_where_and_how(tmp_path):
    (tmp_path / "first.gz").write_bytes(CONTENT["first.gz"])
    with pytest.raises(DataError) as caught:
        locating.locate_files(SOURCE, tmp_path, tmp_path / "downloads", refuse)
    message = str(caught.value)
    assert "\n" not in message
    assert "first.gz" not in message
    for part in (
        "second.gz",
        str(tmp_path / "toys"),
        "https://example.org/toys/second.gz",
        "--manual_dir=",
        "unreachable",
    ):
        assert part in message


def test_other_files_are_taken_only_where_parts_are_and_never_as_downloads(tmp_path):
    parts = dataclasses.replace(SOURCE, accepts_parts=True)
    (tmp_path / "first.gz").write_bytes(b"something else")
    opener = serve(CONTENT)
    found = locating.locate_files(parts, tmp_path, tmp_path / "downloads", opener)
    assert found["first.gz"] == tmp_path / "first.gz"
    assert opener.urls == ["https://example.org/toys/second.gz"]
    assert not locating.are_published(parts, found)
    (tmp_path / "first.gz").write_bytes(CONTENT["first.gz"])
    assert locating.are_published(parts, found)
    with pytest.raises(DataError, match=r"received .* bytes with sha256"):
        locating.locate_files(parts, None, tmp_path / "others", serve({**CONTENT, "first.gz": b"part"}))


def test_files_without_published_sums_are_never_called_published(tmp_path):
    (tmp_path / "dbpedia_csv.tar.gz").write_bytes(b"")
    found = locating.locate_files(sources.DBPEDIA, tmp_path, tmp_path, refuse)
    assert not locating.are_published(sources.DBPEDIA, found)


# Downloading.


def test_only_missing_files_are_downloaded_and_then_found_again(tmp_path):
    (tmp_path / "first.gz").write_bytes(CONTENT["first.gz"])
    opener = serve(CONTENT)
    found = locating.locate_files(SOURCE, tmp_path, tmp_path / "downloads", opener)
    assert opener.urls == ["https://example.org/toys/second.gz"]
    assert found["second.gz"] == tmp_path / "downloads" / "toys" / "second.gz"
    assert found["second.gz"].read_bytes() == CONTENT["second.gz"]
    assert locating.locate_files(SOURCE, tmp_path, tmp_path / "downloads", refuse) == found


@pytest.mark.parametrize("content", [b"thr33", b"th", b"three and more"])
def test_a_wrong_download_leaves_nothing_behind(tmp_path, content):
    with pytest.raises(DataError, match=r"received .* bytes with sha256"):
        locating.locate_files(SOURCE, None, tmp_path, serve({**CONTENT, "second.gz": content}))
    assert [path.name for path in (tmp_path / "toys").iterdir()] == ["first.gz"]


def test_an_interrupted_download_leaves_nothing_behind(tmp_path):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise ConnectionResetError("connection reset by peer")

    with pytest.raises(DataError, match="connection reset by peer"):
        locating.locate_files(SOURCE, None, tmp_path, lambda url, timeout: Broken())
    assert list((tmp_path / "toys").iterdir()) == []


def test_no_room_for_a_download_is_a_data_error(tmp_path):
    (tmp_path / "downloads").write_text("a file where a folder is needed")
    with pytest.raises(DataError, match="Not a directory"):
        locating.locate_files(SOURCE, None, tmp_path / "downloads", serve(CONTENT))


def test_a_hanging_connection_is_given_up_in_time(tmp_path):
    release = threading.Event()
    late = io.BytesIO()

    def hang(url, timeout):
        release.wait(20)
        return late

    start = time.monotonic()
    with pytest.raises(DataError, match=r"no answer from example.org within 0.2 seconds"):
        locating.locate_files(SOURCE, None, tmp_path, hang, connect_seconds=0.2)
    assert time.monotonic() - start < 5
    release.set()
    for _ in range(100):
        if late.closed:
            break
        time.sleep(0.02)
    assert late.closed


def test_the_whole_wait_for_a_connection_stays_below_fifteen_seconds():
    assert download.CONNECT_SECONDS < 15


def test_recorded_sums_are_well_formed():
    for source in (sources.MNIST, sources.CIFAR10, sources.STANFORD_DOGS):
        for file in (*source.files, *source.unpacked_files):
            assert len(bytes.fromhex(file.sha256)) == 32
    assert {file.name for file in sources.CIFAR10.unpacked_files} == {*sources.CIFAR10_TRAIN, *sources.CIFAR10_TEST}
