"""The official files of each data set, and finding them on this machine or fetching them.

A file counts only after its size and its sha256 have been compared with the published figures below. Files are looked
for in the folder the user names (`--manual_dir`, as downloaded or in a subfolder called like the data set) and among
earlier downloads; what is then still missing is downloaded. Nothing found is ever changed or removed.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aux_rnn.datasets.download import CONNECT_SECONDS, OpenUrl, download_file, open_url
from aux_rnn.datasets.errors import DataError


@dataclasses.dataclass(frozen=True)
class OfficialFile:
    """A file as its authors publish it.

    Attributes:
      name: name without folder.
      size: length in bytes.
      sha256: hexadecimal digest of the content.
    """

    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
      name: subfolder of the manual and of the download folder that is searched first.
      base_url: address of the folder that holds `files`, with a slash at the end.
      files: what is downloaded.
      unpacked_folder: folder that appears when the user unpacks the downloaded archive; empty if it is no archive.
      unpacked_files: content of that folder, which serves as well as `files`.
    """

    name: str
    base_url: str
    files: tuple[OfficialFile, ...]
    unpacked_folder: str = ""
    unpacked_files: tuple[OfficialFile, ...] = ()


MNIST_TRAIN_IMAGES, MNIST_TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
MNIST_TEST_IMAGES, MNIST_TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

MNIST = Source(
    name="mnist",
    base_url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    files=(
        OfficialFile(MNIST_TRAIN_IMAGES, 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        OfficialFile(MNIST_TRAIN_LABELS, 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        OfficialFile(MNIST_TEST_IMAGES, 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        OfficialFile(MNIST_TEST_LABELS, 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)
CIFAR10_BATCH_BYTES = 30_730_000

CIFAR10 = Source(
    name="cifar10",
    base_url="https://www.cs.toronto.edu/~kriz/",
    files=(
        OfficialFile(CIFAR10_ARCHIVE, 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    ),
    unpacked_folder=CIFAR10_FOLDER,
    unpacked_files=tuple(
        OfficialFile(name, CIFAR10_BATCH_BYTES, sha256)
        for name, sha256 in {
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        }.items()
    ),
)


def locate_files(
    source: Source,
    manual_dir: Path | None,
    download_dir: Path,
    opener: OpenUrl = open_url,
    connect_seconds: float = CONNECT_SECONDS,
) -> dict[str, Path]:
    """Finds the official files, downloading those that are nowhere, and verifies every one.

    Args:
      source: what to look for.
      manual_dir: the user's folder of downloaded files, searched first; None if there is none.
      download_dir: earlier downloads are looked for, and new ones put, in its subfolder `source.name`.
      opener: opens an address; replaced in tests.
      connect_seconds: how long to wait for a server's answer.

    Returns:
      `{file name: path}`, either of all `source.files` or of all `source.unpacked_files`.

    Raises:
      DataError: a file is not the published one, or it is missing and cannot be downloaded.
    """
    downloads = download_dir / source.name
    folders = [*([manual_dir / source.name, manual_dir] if manual_dir else []), downloads]
    found = find_files(source.files, folders)
    unpacked = find_files(source.unpacked_files, [folder / source.unpacked_folder for folder in folders])
    if len(found) < len(source.files) and len(unpacked) == len(source.unpacked_files) > 0:
        verify_files(source.unpacked_files, unpacked, source)
        return unpacked
    verify_files(source.files, found, source)
    for file in source.files:
        if file.name not in found:
            url, path = source.base_url + file.name, downloads / file.name
            try:
                found[file.name] = download_file(url, path, file.size, file.sha256, opener, connect_seconds)
            except DataError as error:
                raise DataError(f"{describe_missing(source, found, unpacked, folders)}; download: {error}") from error
    return found


def find_files(files: Iterable[OfficialFile], folders: Sequence[Path]) -> dict[str, Path]:
    """The first path of each file in the folders, `{name: path}`, leaving out what is in none of them."""
    candidates = {file.name: [folder / file.name for folder in folders] for file in files}
    existing = {name: [path for path in paths if os.path.lexists(path)] for name, paths in candidates.items()}
    return {name: paths[0] for name, paths in existing.items() if paths}


def verify_files(files: Iterable[OfficialFile], found: Mapping[str, Path], source: Source) -> None:
    """Raises DataError unless each file that was found has its published size and sha256."""
    remedy = f"move it away and get it again from {source.base_url}"
    for file in files:
        if file.name in found:
            verify_file(found[file.name], file, remedy)


def verify_file(path: Path, file: OfficialFile, remedy: str) -> None:
    """Raises DataError unless the file at this path has the published size and sha256."""
    try:
        size = path.stat().st_size
        if size != file.size:
            raise DataError(f"{path}: wrong size, {size:,} bytes instead of the official {file.size:,}; {remedy}")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    if digest != file.sha256:
        raise DataError(f"{path}: wrong checksum, sha256 {digest} instead of the official {file.sha256}; {remedy}")


def describe_missing(
    source: Source, found: Mapping[str, Path], unpacked: Mapping[str, Path], folders: Iterable[Path]
) -> str:
    """One line on what is missing, where it was looked for, where to get it and where to put it."""
    missing = [file.name for file in source.files if file.name not in found]
    alternative = ""
    if source.unpacked_folder:
        lacking = [file.name for file in source.unpacked_files if file.name not in unpacked] if unpacked else []
        alternative = f" (or its unpacked folder {source.unpacked_folder}"
        alternative += f", which lacks {', '.join(lacking)})" if lacking else ")"
    return (
        f"{source.name}: {', '.join(missing)}{alternative} not found in {', '.join(map(str, folders))}; "
        f"on a machine with network get {' '.join(source.base_url + name for name in missing)}, "
        f"copy to a folder of this machine and name it with --manual_dir=FOLDER"
    )
