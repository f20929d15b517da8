"""The files that the authors of a data set publish: finding, verifying, downloading and reading them."""

import dataclasses
import hashlib
import os
import tarfile
import tempfile
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from aux_rnn.datasets.errors import DataError, reading
from aux_rnn.errors import first_line

CONNECT_SECONDS = 6.0


@dataclasses.dataclass(frozen=True)
class OfficialFile:
    """A file as its authors publish it, by its name.

    If it is read unpacked as well, `unpacked` is the name of the file or folder that unpacking makes, and `contents`
    has the SHA-256 of the unpacked files by name.
    """

    name: str
    unpacked: str = ""
    contents: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Source:
    """The published files of a data set.

    The name is that of the data set in tfds, whose checksums apply, and of the subfolder of the manual folder. The
    address ends with a slash and precedes the names of the files; it is empty if they cannot be downloaded. The remark
    is advice for users who do not have the files.
    """

    name: str
    address: str
    files: tuple[OfficialFile, ...]
    remark: str = ""

    def url_infos(self) -> Mapping[str, Any]:
        """Returns size and SHA-256 by address, as tfds ships them; none without an address."""
        return tfds.builder_cls(self.name).url_infos if self.address else {}


def locate(source: Source, manual_dir: Path | None, download_dir: Path, allow_partial: bool) -> dict[str, Path]:
    """Finds the official files in the user's folder or its subfolder `source.name`, and downloads the missing ones.

    Returns the path by file name: of the file itself, or of what it was unpacked to. Raises DataError if a file is
    missing and cannot be downloaded, or is not the published one, which `allow_partial` permits.
    """
    folders = [*([manual_dir / source.name, manual_dir] if manual_dir else []), download_dir / source.name]
    found = {}
    for file in source.files:
        paths = [folder / name for name in (file.name, file.unpacked) if name for folder in folders]
        if path := next(filter(os.path.lexists, paths), None):
            found[file.name] = path
            if not allow_partial:
                verify(source, file, path)
    missing = [file for file in source.files if file.name not in found]
    if missing:
        try:
            found |= download(source, missing, download_dir)
        except Exception as error:  # requests, tfds and the system raise many kinds of errors
            raise DataError(f"{describe_missing(source, missing, folders)} ({first_line(error)})") from error
    return found


def describe_missing(source: Source, missing: Sequence[OfficialFile], folders: Sequence[Path]) -> str:
    """Returns one line that says which files are missing, where to get them and where to put them."""
    names = ", ".join(f"{f.name} (or unpacked: {f.unpacked})" if f.unpacked else f.name for f in missing)
    urls = " ".join(source.address + file.name for file in missing)
    origin = f"on a machine with network get {urls}" if source.address else "they cannot be downloaded automatically"
    return (
        f"{source.name}: {names} not found in {', '.join(map(str, folders))}; {origin}{source.remark}, copy them to a "
        "folder of this machine and name it with manual_dir=FOLDER"
    )


def verify(source: Source, file: OfficialFile, path: Path) -> None:
    """Raises DataError unless a file, or what it was unpacked to, has the published SHA-256 where one is known."""
    url = source.address + file.name
    if path.name == file.name:
        info = source.url_infos().get(url)
        expected = {path: info.checksum} if info else {}
    else:
        expected = {path / name if path.is_dir() else path: digest for name, digest in file.contents.items()}
    for part, digest in expected.items():
        with reading(part, f"get it again from {url}"), part.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != digest:
            remedy = f"move it away and get it again from {url}, or accept it with allow_partial=True"
            raise DataError(f"{part}: wrong checksum, sha256 {found} instead of the published {digest}; {remedy}")


def download(source: Source, files: Sequence[OfficialFile], folder: Path) -> dict[str, Path]:
    """Downloads files to the subfolder `source.name` and verifies them; raises OSError soon if there is no network."""
    if not source.address:
        raise OSError("it has no address")
    urls = {file.name: source.address + file.name for file in files}
    check_reachable(urls[files[0].name])
    logging.info("Downloading %s to %s", ", ".join(urls.values()), folder)
    (folder / source.name).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as partial:
        manager = tfds.download.DownloadManager(download_dir=partial, url_infos=dict(source.url_infos()))
        return {name: Path(path).rename(folder / source.name / name) for name, path in manager.download(urls).items()}


def check_reachable(url: str, seconds: float = CONNECT_SECONDS) -> None:
    """Raises OSError unless a server answers in time, where tfds would retry for minutes."""
    # In a thread, because a resolver without answer blocks for a minute inside the C library.
    outcome: list[Exception | None] = [TimeoutError(f"no answer within {seconds:g} seconds")]

    def connect() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds):
                outcome[0] = None
        except Exception as error:
            outcome[0] = error

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    if (error := outcome[0]) is not None:
        raise OSError(f"{url}: {first_line(error)}") from error


def read_member(path: Path, name: str) -> bytes:
    """Reads a file, and no link, of a tar archive by its name without folders, or of the folder it was unpacked to."""
    if path.is_dir():
        return (path / name).read_bytes()
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and Path(member.name).name == name:
                return archive.extractfile(member).read()  # type: ignore[union-attr]
    raise KeyError(f"there is no {name}")
