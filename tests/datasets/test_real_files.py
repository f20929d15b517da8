"""The real data sets, when AUX_RNN_MANUAL_DIR names the folder with their official files."""

import csv
import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat

from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import load_splits

MANUAL_DIR = os.environ.get("AUX_RNN_MANUAL_DIR", "")

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not MANUAL_DIR, reason="AUX_RNN_MANUAL_DIR names no folder with the official files"),
]


def needs(path):
    return pytest.mark.skipif(not (Path(MANUAL_DIR) / path).exists(), reason=f"there is no {path}")


def read_mnist(part):
    packed = [Path(MANUAL_DIR) / f"mnist/{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    images, labels = (np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8) for path in packed)
    return images[16:].reshape(-1, 28, 28, 1), labels[8:]


def read_cifar10(*names):
    folder = Path(MANUAL_DIR) / "cifar10/cifar-10-batches-bin"
    records = np.concatenate([np.fromfile(folder / name, np.uint8).reshape(-1, 3073) for name in names])
    planes = [records[:, 1 + 1024 * channel : 1025 + 1024 * channel].reshape(-1, 32, 32) for channel in range(3)]
    return np.stack(planes, axis=-1), records[:, 0]


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_arrays_equal_the_official_files(tmp_path, name):
    if name == "mnist":
        train, test = read_mnist("train"), read_mnist("t10k")
    else:
        train, test = read_cifar10(*(f"data_batch_{n}.bin" for n in range(1, 6))), read_cifar10("test_batch.bin")
    splits = load_splits(DataConfig(dataset=name, data_dir=str(tmp_path), manual_dir=MANUAL_DIR), seed=1)
    for part, (images, labels) in ((splits.train, train), (splits.validation, train), (splits.test, test)):
        np.testing.assert_array_equal(part.inputs, images[part.ids])
        np.testing.assert_array_equal(part.labels, labels[part.ids])
    assert sorted([*splits.train.ids, *splits.validation.ids]) == list(range(len(train[1])))
    assert splits.test.ids.tolist() == list(range(10_000))


@needs("dbpedia/dbpedia_csv.tar.gz")
def test_articles_equal_the_official_files(tmp_path):
    splits = load_splits(
        DataConfig(dataset="dbpedia", data_dir=str(tmp_path), manual_dir=MANUAL_DIR, allow_partial=True), seed=1
    )
    with tarfile.open(Path(MANUAL_DIR) / "dbpedia/dbpedia_csv.tar.gz") as tar:
        content = tar.extractfile("dbpedia_csv/test.csv").read().decode()
    rows = list(csv.reader(io.StringIO(content, newline="")))
    assert splits.test.labels.tolist() == [int(label) - 1 for label, _, _ in rows]
    texts = [f"{title} {abstract}".encode()[:1014] for _, title, abstract in rows]
    assert splits.test.lengths.tolist() == [len(text) for text in texts]
    assert [row[1014 - len(text) :].tobytes() for row, text in zip(splits.test.inputs, texts, strict=True)] == texts
    assert set(splits.train.labels.tolist()) == set(range(14))


@needs("stanford_dogs/images.tar")
def test_photographs_equal_the_official_files(tmp_path):
    folders = dict(data_dir=str(tmp_path), manual_dir=MANUAL_DIR, allow_partial=True)
    config = DataConfig(dataset="stanford_dogs", image_size=32, **folders)
    splits = load_splits(config, seed=1)
    folder = Path(MANUAL_DIR) / "stanford_dogs"
    with tarfile.open(folder / "lists.tar") as tar:
        listed = loadmat(io.BytesIO(tar.extractfile("test_list.mat").read()))
    names = [cell.item() for cell in listed["file_list"][:, 0]]
    assert splits.test.labels.tolist() == [label - 1 for label in listed["labels"][:, 0].tolist()]
    with tarfile.open(folder / "images.tar") as tar:
        for row in (0, len(names) // 2, len(names) - 1):
            image = Image.open(tar.extractfile(f"Images/{names[row]}")).convert("RGB")
            side, (width, height) = min(image.size), image.size
            left, top = (width - side) // 2, (height - side) // 2
            # Another implementation, which rounds after each axis.
            shrunk = image.crop((left, top, left + side, top + side)).resize((32, 32), Image.Resampling.BOX)
            assert np.abs(np.asarray(shrunk).astype(int) - splits.test.inputs[row]).max() <= 1
