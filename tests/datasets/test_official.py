"""Official files: finding, verifying, downloading and preparing them. No test uses the network."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import shutil
import socket
import threading
import urllib.error
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from official import (
    DIGITS,
    LISTED,
    PHOTOGRAPHS,
    flip_a_bit,
    list_file,
    mnist_files,
    official_config,
    photograph,
    write_dogs,
    write_files,
    write_mnist,
    write_tar,
)
from PIL import Image
from properties import refused

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import Config, DataConfig, ModelConfig, RunConfig
from aux_rnn.datasets import DataError, files, find_dataset, load_splits
from aux_rnn.datasets.builtin import cifar10, stanford_dogs
from aux_rnn.datasets.files import OfficialFile, Source, locate
from aux_rnn.datasets.forms import crop_and_shrink
from aux_rnn.training import experiment

CONTENTS = {"one.bin": b"one", "two.bin": b"second"}


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Two files on a server, which serves the folder 'served', with their checksums."""
    (tmp_path / "served").mkdir()
    infos = {}
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for name, content in CONTENTS.items():
            (tmp_path / "served" / name).write_bytes(content)
            size = tfds.core.utils.Size(len(content))
            infos[address + name] = tfds.download.checksums.UrlInfo(size, digest(content), name)
        monkeypatch.setattr(Source, "url_infos", lambda self: infos)
        monkeypatch.setenv("no_proxy", "*")
        yield Source("toys", address, tuple(map(OfficialFile, CONTENTS)))
        server.shutdown()


@pytest.fixture
def manual(tmp_path):
    folder = tmp_path / "manual"
    folder.mkdir()
    return folder


# Finding and verifying.


@pytest.mark.parametrize("subfolder", ["", "toys"])
def test_only_files_that_are_not_in_the_manual_folder_are_downloaded(source, manual, tmp_path, subfolder):
    folder = manual / subfolder
    folder.mkdir(exist_ok=True)
    (tmp_path / "served/one.bin").rename(folder / "one.bin")
    found = locate(source, manual, tmp_path / "downloads", False)
    assert found["one.bin"] == folder / "one.bin"
    assert {name: path.read_bytes() for name, path in found.items()} == CONTENTS
    (tmp_path / "served/two.bin").unlink()
    assert locate(source, manual, tmp_path / "downloads", False) == found


def test_a_download_that_is_not_the_published_file_is_refused(source, tmp_path):
    (tmp_path / "served/two.bin").write_bytes(b"thr33!")
    with refused(DataError, "two.bin ", "wrong checksum"):
        locate(source, None, tmp_path / "downloads", True)


@pytest.mark.parametrize("is_packed", [True, False])
def test_a_file_that_is_not_the_published_one_or_a_dead_link_is_refused_and_kept(source, manual, tmp_path, is_packed):
    folder = manual if is_packed else manual / "toys-bin"
    if not is_packed:
        contents = {name: digest(content) for name, content in CONTENTS.items()}
        source = Source("toys", "", (OfficialFile("toys.tar.gz", "toys-bin", contents),))
    write_files(folder, CONTENTS)
    found = locate(source, manual, tmp_path, False)
    assert found == ({name: folder / name for name in CONTENTS} if is_packed else {"toys.tar.gz": folder})
    (folder / "two.bin").write_bytes(b"thr33!")
    with refused(DataError, f"{folder}/two.bin: wrong checksum, sha256 {digest(b'thr33!')} ", "get it again"):
        locate(source, manual, tmp_path, False)
    assert (folder / "two.bin").read_bytes() == b"thr33!"
    assert locate(source, manual, tmp_path, True) == found
    (folder / "two.bin").unlink()
    (folder / "two.bin").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"two.bin: cannot be read \(.*No such file"):
        locate(source, manual, tmp_path, False)


@pytest.mark.parametrize(
    ("name", "file", "folder", "parts"),
    [
        ("cifar10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", ("~kriz/", "Python version", "unreachable")),
        ("dbpedia", "dbpedia_csv.tar.gz", "dbpedia_csv", ("cannot be downloaded", "huggingface.co/", "no address")),
    ],
)
def test_missing_files_are_one_line_and_nothing_is_written(name, file, folder, parts, manual, tmp_path, monkeypatch):
    def refuse(*arguments, **settings):
        raise urllib.error.URLError("network is unreachable")

    monkeypatch.setattr(files.urllib.request, "urlopen", refuse)
    (manual / "cifar-10-python.tar.gz").write_bytes(b"pickles")
    found = f"{name}: {file} (or unpacked: {folder}) not found in {manual}/{name}, {manual}, "
    with refused(DataError, found, *parts, "name it with manual_dir=FOLDER"):
        load_splits(official_config(tmp_path, name, allow_partial=False), seed=0)
    assert list((tmp_path / "data").iterdir()) == []


def test_a_server_or_resolver_that_does_not_answer_is_given_up_in_time(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError, match=r"no answer|timed out"):
        files.check_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/file", seconds=0.3)
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **settings: release.wait(20))
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(OSError, match=r"http://example.org/file: no answer within 0.2 seconds"):
        files.check_reachable("http://example.org/file", seconds=0.2)
    release.set()
    assert files.CONNECT_SECONDS < 15


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "emnist/letters", "cifar10", "stanford_dogs"])
def test_tfds_knows_the_checksum_of_every_file(name):
    source = find_dataset(DataConfig(dataset=name)).source
    assert {source.address + file.name for file in source.files} <= set(source.url_infos())


# MNIST and CIFAR-10.


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_data_sets_in_the_format_of_mnist_are_read(manual, tmp_path, name, capfd):
    def load(data_dir, **settings):
        return load_splits(official_config(tmp_path, name, data_dir=str(tmp_path / data_dir), **settings), seed=0)

    def check(splits):
        np.testing.assert_array_equal(splits.train.inputs[..., 0], DIGITS["train"])
        np.testing.assert_array_equal(splits.test.inputs[..., 0], DIGITS["t10k"])
        assert splits.train.labels.tolist() == [*range(10)] * 3

    write_mnist(manual)
    check(load("packed"))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: wrong checksum"):
        load("other", allow_partial=False)
    for file in mnist_files():
        (manual / f"{file}.gz").unlink()
    write_files(manual, mnist_files())
    if name == "mnist":
        check(load("unpacked"))
    else:
        with pytest.raises(DataError, match=r"unpacked files have no published checksums and are not read"):
            load("unpacked")


@pytest.mark.parametrize(("division", "first"), [("digits", 0), ("letters", 1)])
def test_a_division_of_emnist_is_read_from_its_archive(manual, tmp_path, division, first):
    with zipfile.ZipFile(manual / "gzip.zip", "w") as archive:
        for name, content in mnist_files().items():
            part, kind = name.replace("t10k", "test").split("-", 1)
            labels = bytes(label + first for label in content[8:]) if "labels" in kind else b""
            content = gzip.compress(content[:8] + labels if labels else content)
            archive.writestr(f"gzip/emnist-{division}-{part}-{kind}.gz", content)
    splits = load_splits(official_config(tmp_path, f"emnist/{division}"), seed=0)
    np.testing.assert_array_equal(splits.test.inputs[..., 0], DIGITS["t10k"])
    assert splits.train.labels.tolist() == [*range(10)] * 3


def cifar_batch(number):
    planes = [np.full(1024, value, np.uint8) for value in (number, 20, 30)]
    planes[0][:32] = range(32)  # the first row
    return bytes([number]) + b"".join(plane.tobytes() for plane in planes)


@pytest.mark.parametrize("is_packed", [True, False])
def test_cifar_is_read_from_the_archive_and_from_its_folder(manual, tmp_path, is_packed):
    contents = {name: cifar_batch(number) for number, name in enumerate(cifar10.ARCHIVE.contents)}
    if is_packed:
        members = {f"cifar-10-batches-bin/{name}": contents[name] for name in reversed(contents)}
        write_tar(manual / "cifar-10-binary.tar.gz", members)
    else:
        write_files(manual / "cifar-10-batches-bin", contents)
    splits = load_splits(official_config(tmp_path, "cifar10"), seed=0)
    assert (splits.train.labels.tolist(), splits.test.labels.tolist()) == ([0, 1, 2, 3, 4], [5])
    assert splits.train.inputs.shape == (5, 32, 32, 3)
    assert splits.train.inputs[3, 0, :, 0].tolist() == [*range(32)]
    assert splits.train.inputs[3, 31, 31].tolist() == [3, 20, 30]


# Stanford Dogs.


@pytest.fixture(scope="module")
def dogs(tmp_path_factory):
    """Folders of a small Stanford Dogs that is prepared; never written to."""
    folder = tmp_path_factory.mktemp("dogs")
    write_dogs(folder / "manual/stanford_dogs")
    load_splits(official_config(folder, "stanford_dogs"), seed=0)
    return folder


def test_photographs_are_cropped_shrunk_in_the_order_of_the_lists_and_named_after_their_folders(dogs):
    splits = load_splits(official_config(dogs, "stanford_dogs"), seed=0)
    decoded = np.stack([photograph(seed)[1] for seed in range(len(PHOTOGRAPHS))])
    expected = crop_and_shrink(decoded, 128)
    np.testing.assert_array_equal(splits.train.inputs, expected[:12])
    np.testing.assert_array_equal(splits.test.inputs, expected[12:])
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [119] * 4
    smaller = load_splits(official_config(dogs, "stanford_dogs", image_size=30), seed=0)
    np.testing.assert_array_equal(smaller.test.inputs, crop_and_shrink(expected[12:], 30))
    names = find_dataset(DataConfig(dataset="stanford_dogs")).open(official_config(dogs, "stanford_dogs")).class_names
    assert (names[0], names[1], names[2], names[119]) == ("n01-Afghan", "n02-Basenji", "breed-3", "n03-Corgi")


def test_a_part_is_refused_unless_it_is_allowed(dogs):
    with pytest.raises(DataError, match=r"train has 12 examples instead of the published 12,000; allow_partial=True"):
        load_splits(official_config(dogs, "stanford_dogs", allow_partial=False), seed=0)
    config = Config(data=official_config(dogs, "stanford_dogs"), model=ModelConfig(segment_length=9), run=RunConfig())
    experiment.check(config)
    with pytest.raises(ConfigError, match="batch_size=128: must be at most 12, the number of training examples"):
        experiment.create_experiment(config)


def test_damaged_archives_are_named_and_nothing_half_written_is_left(tmp_path):
    folder = tmp_path / "manual"
    write_dogs(folder)
    broken_lists = {f"{split}_list.mat": b"MATLAB 5.0 MAT-file" + bytes(200) for split in LISTED}
    damages = {
        "images.tar": ({}, {f"Images/{name}": photograph(0)[0][:200] for name in PHOTOGRAPHS}),
        "lists.tar": ({"train_list.mat": list_file(LISTED["train"])}, broken_lists),
    }
    for name, members in damages.items():
        whole = (folder / name).read_bytes()
        for content in (*members, whole[:2_000], b"no archive"):
            if isinstance(content, dict):
                write_tar(folder / name, content)
            else:
                (folder / name).write_bytes(content)
            with refused(DataError, f"{folder / name}: cannot be read"):
                load_splits(official_config(tmp_path, "stanford_dogs"), seed=0)
        (folder / name).write_bytes(whole)
    assert len(load_splits(official_config(tmp_path, "stanford_dogs"), seed=0).test) == 3


@pytest.mark.parametrize(("file_format", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")])
def test_photographs_of_other_kinds_become_three_channels(file_format, mode):
    stream = io.BytesIO()
    Image.fromarray(photograph(0)[1]).convert(mode).save(stream, file_format)
    assert stanford_dogs.decode_square(stream.getvalue()).shape == (128, 128, 3)


# Prepared data.


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Folders of a small MNIST that is prepared; never written to."""
    folder = tmp_path_factory.mktemp("mnist")
    write_mnist(folder / "manual")
    load_splits(official_config(folder, "mnist"), seed=0)
    return folder


@pytest.fixture
def copied(prepared, tmp_path):
    shutil.copytree(prepared / "data", tmp_path / "data")
    return tmp_path / "data/sequential_mnist/1.0.0"


def test_prepared_data_needs_no_files_and_is_shared_with_pmnist(prepared, copied, tmp_path):
    for name in ("mnist", "pmnist"):
        splits = load_splits(official_config(tmp_path, name, manual_dir=""), seed=0)
        np.testing.assert_array_equal(splits.test.inputs[..., 0], DIGITS["t10k"])
        assert find_dataset(DataConfig(dataset=name)).permuted == (name == "pmnist")
    assert sorted(os.listdir(tmp_path / "data")) == ["downloads", "sequential_mnist"]
    records = tfds.builder_from_directory(str(copied)).as_data_source("test")
    assert records[9]["image"].shape == (28, 28, 1)


def test_default_folder_is_that_of_tfds(prepared, monkeypatch, tmp_path):
    shutil.copytree(prepared / "data", tmp_path / "tensorflow_datasets")
    for tfds_folder, home in ((prepared / "data", "/nowhere"), ("", tmp_path)):
        monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
        monkeypatch.setenv("HOME", str(home))
        assert len(load_splits(official_config(tmp_path, "mnist", data_dir="", manual_dir=""), seed=0).test) == 10


def test_another_process_may_prepare_the_same_data_first(prepared, tmp_path, monkeypatch):
    def lose(self, *arguments, **settings):
        shutil.copytree(prepared / "data", tmp_path / "data", dirs_exist_ok=True)
        raise OSError("Directory not empty")

    write_mnist(tmp_path / "manual")
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", lose)
    assert len(load_splits(official_config(tmp_path, "mnist"), seed=0).test) == 10


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    write_mnist(tmp_path / "manual")
    with refused(ConfigError, "manual_dir=", "must be an existing folder"):
        load_splits(official_config(tmp_path, "mnist", manual_dir="x" * 5_000), seed=0)
    with pytest.raises(ConfigError, match=r"data_dir=gs://bucket: must be a folder of this machine"):
        load_splits(official_config(tmp_path, "mnist", data_dir="gs://bucket"), seed=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data_dir=.*file: preparing mnist failed \(.*File exists"):
        load_splits(official_config(tmp_path, "mnist", data_dir=str(tmp_path / "file")), seed=0)


def test_a_damaged_prepared_folder_is_refused_and_kept(copied, tmp_path):
    flip_a_bit(copied / "sequential_mnist-train.array_record-00000-of-00001")
    before = {path.name: path.read_bytes() for path in copied.iterdir()}
    with refused(DataError, str(copied), "cannot be read", "move this folder away"):
        load_splits(official_config(tmp_path, "mnist", manual_dir=""), seed=0)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
