"""Copies of a run's folder at an address such as gs://bucket/run, for machines that disappear.

Object stores can neither append nor lock, so a run works in a local folder, and what is new there is copied to the
address after each checkpoint. A copy that is interrupted leaves at most an incomplete checkpoint, which its digest
reveals; the checkpoint before it is removed only later.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from absl import logging
from fsspec.asyn import AsyncFileSystem

from aux_rnn.config.fields import ConfigError
from aux_rnn.errors import OneLineError, first_line
from aux_rnn.storage.workdir import StorageError

MAX_LISTINGS = 20
OWNER = "owner"  # the file at the address that names the run it belongs to
SUMMARY = "summary.json"
MAX_REASON = 200  # characters


class RemoteError(StorageError):
    """The address cannot be read or written. The text is one line."""


class OwnershipLostError(StorageError):
    """Another run was started with the address and owns it now."""


class RemoteCopy:
    """The copy of a folder at an address, which the file system of fsspec calls `root`.

    After a failed upload, `upload_failed` is true: the folder holds more than the address.
    """

    def __init__(self, address: str, filesystem: Any, root: str) -> None:
        self.address = address
        self.upload_failed = False
        self._filesystem, self._root = filesystem, PurePosixPath(root)
        self._token = secrets.token_hex(8)
        self._listed: dict[str, Any] = {}  # what was downloaded, by name, as the address described it
        self._copied: dict[str, tuple[int, int]] = {}  # what is at the address, by name, see `list_files`
        self._thread = ThreadPoolExecutor(1)  # of uploads
        self._latest: Future = Future()
        self._is_closed = False

    def download(self, folder: Path) -> None:
        """Makes a folder the same as the address; what was downloaded before and did not change is left alone.

        The owner of the address may add and remove files meanwhile, so the files are listed again until nothing
        changes. Raises ConfigError if the bucket does not exist, and RemoteError.
        """
        with self._errors("read"):
            for _ in range(MAX_LISTINGS):
                found = self._list()
                if found == self._listed:
                    break
                for name in self._listed.keys() - found.keys():
                    remove_file(folder, name)
                self._listed = {name: info if self._listed.get(name) == info else None for name, info in found.items()}
                changed = [name for name, info in self._listed.items() if info is None]
                with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                    self._filesystem.get(self._paths(changed), [str(folder / name) for name in changed])
                    self._listed = found
            else:
                raise RemoteError(f"workdir={self.address}: cannot be read (its files change all the time)")
        self._copied = {name: state for name, state in list_files(folder).items() if name in self._listed}

    def take_ownership(self, folder: Path) -> None:
        """Makes the address belong to this run, then downloads what its former owner wrote until now.

        The former owner notices at its next upload. Raises ConfigError and RemoteError, see `download`.
        """
        with self._errors("written"):
            self._make_folders([OWNER])
            self._filesystem.pipe_file(str(self._root / OWNER), self._token.encode())
        self.download(folder)

    def add(self, folder: Path, names: Sequence[str]) -> None:
        """Uploads the files of a command other than training, whoever owns the address. Raises RemoteError."""
        with self._errors("written", is_upload=True):
            self._put(folder, names)

    def upload(self, folder: Path) -> None:
        """Begins to copy what is new to the address, in the background.

        One upload runs at a time, and of those that wait only the latest takes place. A failed one is logged; the next
        one copies what is missing. Raises OwnershipLostError if an earlier one found that another run owns the address.
        """
        if not self._latest.cancel() and self._latest.done():
            self._latest.result()
        self._latest = self._thread.submit(self._upload_or_warn, folder)

    def sync(self, folder: Path) -> None:
        """Waits for the upload in progress, if any, and copies the rest; raises OwnershipLostError and RemoteError."""
        self._latest.cancel()
        self._thread.submit(self._upload, folder).result()

    def close(self) -> None:
        """Makes an upload in progress end early, and waits until the files that it is copying are copied."""
        self._is_closed = True
        self._thread.shutdown(cancel_futures=True)

    def _upload_or_warn(self, folder: Path) -> None:
        failed_before = self.upload_failed
        try:
            self._upload(folder)
        except RemoteError as error:
            if not failed_before and not self._is_closed:
                logging.warning("%s; training continues, and the next checkpoints try again", error)

    def _upload(self, folder: Path) -> None:
        with self._errors("written", is_upload=True):
            while not self._copy_changes(folder):
                pass

    def _copy_changes(self, folder: Path) -> bool:
        """Copies what is new or changed, then removes what is gone; returns False if it must list the files again."""
        files = list_files(folder)
        changed = [name for name, state in files.items() if self._copied.get(name) != state]
        for order in range(3):
            if self._is_closed:
                return True
            names = [name for name in changed if upload_order(name) == order]
            self._require_ownership()
            try:
                self._put(folder, names)
            except FileNotFoundError:
                if all((folder / name).exists() for name in names):
                    raise
                return False
            self._copied |= {name: files[name] for name in names}
        if gone := sorted(self._copied.keys() - files.keys()):
            self._require_ownership()
            with contextlib.suppress(FileNotFoundError):
                self._filesystem.rm(self._paths(gone))
            self._copied = {name: self._copied[name] for name in files}
        return True

    def _require_ownership(self) -> None:
        if self._filesystem.cat_file(str(self._root / OWNER)).decode() != self._token:
            raise OwnershipLostError(
                f"workdir={self.address}: another run was started with this address and owns it now; this one ends"
            )

    def _list(self) -> dict[str, Any]:
        self._filesystem.invalidate_cache()
        try:
            found = self._filesystem.find(str(self._root), detail=True)
        except FileNotFoundError as error:  # not of a missing folder, which is empty
            raise ConfigError(
                f"workdir={self.address}: there is no bucket {self._root.parts[0]}; create it, or correct the name"
            ) from error
        files = {PurePosixPath(p).relative_to(self._root): info for p, info in found.items() if info["type"] == "file"}
        return {str(name): info for name, info in files.items() if str(name) != OWNER and ".." not in name.parts}

    def _put(self, folder: Path, names: Sequence[str]) -> None:
        if names:
            self._make_folders(names)
            self._filesystem.put([str(folder / name) for name in names], self._paths(names))

    def _make_folders(self, names: Sequence[str]) -> None:
        """Makes the folders of files. Object stores, which fsspec speaks to asynchronously, have none.

        For them the clients would make a missing bucket instead.
        """
        if not isinstance(self._filesystem, AsyncFileSystem):
            for parent in {(self._root / name).parent for name in names}:
                self._filesystem.makedirs(str(parent), exist_ok=True)

    def _paths(self, names: Sequence[str]) -> list[str]:
        return [str(self._root / name) for name in names]

    @contextlib.contextmanager
    def _errors(self, what: str, is_upload: bool = False) -> Iterator[None]:
        """Converts the errors of a protocol, each of which has its own, and notes whether the upload failed."""
        try:
            yield
        except OneLineError:
            raise
        except Exception as error:
            self.upload_failed |= is_upload
            reason = first_line(error, MAX_REASON)
            raise RemoteError(f"workdir={self.address}: cannot be {what} ({reason})") from error
        self.upload_failed &= not is_upload


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns the modification time in ns and the size in bytes of all complete files, by name."""
    files = {}
    for parent, _, names in os.walk(folder):
        for path in (Path(parent, name) for name in names):
            name = path.relative_to(folder)
            is_partial = any(part.endswith(".partial") or "-tmp" in part or part == ".lock" for part in name.parts)
            with contextlib.suppress(FileNotFoundError):  # a file may be removed at any time
                if not is_partial:
                    status = path.stat()
                    files[str(name)] = (status.st_mtime_ns, status.st_size)
    return files


def remove_file(folder: Path, name: str) -> None:
    """Removes a file and the folders that it leaves empty, up to `folder`."""
    (folder / name).unlink(missing_ok=True)
    for parent in PurePosixPath(name).parents[:-1]:
        with contextlib.suppress(OSError):
            (folder / parent).rmdir()


def upload_order(name: str) -> int:
    """Returns 0 for records, 1 for files in folders, such as the checkpoints that cover them, and 2 for the summary."""
    return 2 if name == SUMMARY else int("/" in name)
