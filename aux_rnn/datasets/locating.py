"""Finding the official files on this machine, or fetching them.

A file counts only after its size and its sha256 have been compared with the published figures, but for data sets of
which the user may have a part. Files are looked for in the folder the user names (`--manual_dir`, as downloaded or in a
subfolder called like the data set) and among earlier downloads; what is then still missing is downloaded. Nothing found
is ever changed or removed.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aux_rnn.datasets.download import CONNECT_SECONDS, OpenUrl, download_file, open_url
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.sources import OfficialFile, Source


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
      DataError: a file is not the published one (where only that is accepted), or it is missing and cannot be
        downloaded.
    """
    downloads = download_dir / source.name
    folders = [*([manual_dir / source.name, manual_dir] if manual_dir else []), downloads]
    found = find_files(source.files, folders)
    unpacked = find_files(source.unpacked_files, [folder / source.unpacked_folder for folder in folders])
    if len(found) < len(source.files) and len(unpacked) == len(source.unpacked_files) > 0:
        verify_files(source.unpacked_files, unpacked, source)
        return unpacked
    if not source.accepts_parts:
        verify_files(source.files, found, source)
    for file in source.files:
        if file.name not in found:
            if not source.base_url:
                raise DataError(describe_missing(source, found, unpacked, folders))
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


def are_published(source: Source, found: Mapping[str, Path]) -> bool:
    """Whether every file has its published size and sha256; False where these are not known."""
    if any(not file.sha256 for file in source.files):
        return False
    try:
        verify_files(source.files, found, source)
    except DataError:
        return False
    return True


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
    urls = " ".join(source.base_url + name for name in missing)
    origin = f"on a machine with network get {urls}" if source.base_url else f"it is not downloaded: {source.where}"
    return (
        f"{source.name}: {', '.join(missing)}{alternative} not found in {', '.join(map(str, folders))}; "
        f"{origin}, copy to a folder of this machine and name it with --manual_dir=FOLDER"
    )
