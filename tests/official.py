"""Small data sets in the layout of the official files."""

import csv
import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from aux_rnn.config.settings import DataConfig


def write_files(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_tar(path: Path, members: dict[str, bytes | str]) -> None:
    """Writes an archive of files by name; a text makes a link to what it names."""
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname, content = tarfile.SYMTYPE, content, b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


# MNIST.

DIGITS = {"train": np.random.default_rng(0).integers(0, 256, (30, 28, 28), np.uint8)}
DIGITS["t10k"] = DIGITS["train"][::3]


def mnist_files() -> dict[str, bytes]:
    """Returns the unpacked files by name, with labels 0, 1, 2, ..."""
    files = {}
    for part, images in DIGITS.items():
        labels = np.arange(len(images), dtype=np.uint8) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            files[f"{part}-{kind}-ubyte"] = header + values.tobytes()
    return files


def write_mnist(folder: Path) -> None:
    write_files(folder, {f"{name}.gz": gzip.compress(content) for name, content in mnist_files().items()})


# Stanford Dogs.

BREEDS = {"n01-Afghan": 1, "n02-Basenji": 2, "n03-Corgi": 120}
LISTED = {
    "train": [f"{breed}/{breed[:3]}_{number}.jpg" for breed in BREEDS for number in range(4)],
    "test": [f"{breed}/{breed[:3]}_9.jpg" for breed in BREEDS],
}
PHOTOGRAPHS = [name for names in LISTED.values() for name in names]


def photograph(seed: int, width: int = 150, height: int = 140) -> tuple[bytes, np.ndarray]:
    """Returns a JPEG file, and what a decoder makes of it."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).resize((width, height)).save(stream, "JPEG")
    return stream.getvalue(), np.asarray(Image.open(stream).convert("RGB"))


def list_file(names: list[str]) -> bytes:
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    labels = np.array([BREEDS[name.split("/")[0]] for name in names], np.uint8)[:, None]
    stream = io.BytesIO()
    savemat(stream, {"file_list": cells, "annotation_list": cells, "labels": labels})
    return stream.getvalue()


def write_dogs(folder: Path) -> None:
    folder.mkdir(parents=True)
    images = {f"Images/{name}": photograph(seed)[0] for seed, name in enumerate(PHOTOGRAPHS)}
    # The order differs from that of the lists, and there is a file that is not listed.
    write_tar(folder / "images.tar", {"Images/more.txt": b"?", **dict(reversed(images.items()))})
    write_tar(folder / "lists.tar", {f"{split}_list.mat": list_file(names) for split, names in LISTED.items()})


# DBpedia.

CLASS_NAMES = ["Company", *(f"Class{number}" for number in range(2, 15))]
ARTICLES = {
    "train": [
        (number % 14 + 1, f"Title {number}", f'An "abstract", número {number}\n' * number) for number in range(60)
    ],
    "test": [(1, "", ""), (14, "A", "b"), (3, "", "x")],
}


def as_csv(rows: list[tuple[int, str, str]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC).writerows(rows)
    return stream.getvalue().encode()


def dbpedia_files(**changes: bytes | str | None) -> dict[str, bytes | str]:
    """Returns the files of the archive; changes are contents by name without ending, None leaves the file out."""
    contents = {"classes": "\n".join(CLASS_NAMES).encode(), **{k: as_csv(rows) for k, rows in ARTICLES.items()}}
    found = {**contents, **changes}
    return {f"{n}.{'txt' if n == 'classes' else 'csv'}": content for n, content in found.items() if content is not None}


def write_dbpedia(folder: Path, **changes: bytes | str | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "dbpedia_csv.tar.gz"
    write_tar(archive, {f"dbpedia_csv/{name}": content for name, content in dbpedia_files(**changes).items()})
    return archive


def official_config(folder: Path, dataset: str, **settings: object) -> DataConfig:
    """Returns a configuration with the folders `data` and `manual`, which accepts a part of the data."""
    folders = {"data_dir": str(folder / "data"), "manual_dir": str(folder / "manual"), "allow_partial": True}
    return DataConfig(**{"dataset": dataset, "validation_fraction": 0.0, **folders, **settings})
