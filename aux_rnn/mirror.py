"""A run's folder kept at an address such as gs://bucket/run, for machines that disappear.

The run itself works in a folder of its machine, where files can be locked, appended to and renamed; after each
checkpoint what is new there is copied to the address. A copy that was cut short leaves a checkpoint incomplete, which
its digest shows, so that the one before is used.
"""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from aux_rnn.errors import first_line
from aux_rnn.settings import ConfigError
from aux_rnn.workdir import StorageError

OWNER = "owner"
LONGEST_REASON = 200
NEEDED = {"gs": "gcs", "gcs": "gcs"}  # extras of this package by protocol


class MirrorError(StorageError):
    """The address cannot be read or written. One line."""


class TakenOverError(MirrorError):
    """Another run was started with the address, which belongs to that one now."""


def is_address(path: str) -> bool:
    return "://" in path


def open_address(address: str) -> "Mirror":
    """Raises ConfigError for an address that nothing here can speak to."""
    protocol = address.partition("://")[0]
    try:
        filesystem, root = fsspec.url_to_fs(address)
    except ImportError as error:
        extra = NEEDED.get(protocol)
        remedy = f"pip install 'aux_rnn[{extra}]'" if extra else str(error)
        raise ConfigError(
            f"--workdir={address}: {protocol}:// needs a package that is not installed; {remedy}"
        ) from error
    except Exception as error:  # each protocol has errors of its own
        raise ConfigError(f"--workdir={address}: cannot be used ({first_line(error, LONGEST_REASON)})") from error
    return Mirror(address, filesystem, root)


class Mirror:
    """Copies a folder to an address and back.

    Args:
      address: as the user gave it.
      filesystem: of fsspec, which speaks to it.
      root: the address as the file system calls it.
    """

    def __init__(self, address: str, filesystem: Any, root: str) -> None:
        self.address = address
        self._filesystem, self._root = filesystem, PurePosixPath(root)
        self._token = secrets.token_hex(8)
        self._known: dict[str, tuple[int, int]] = {}

    def fetch(self, folder: Path) -> None:
        """Brings what lies at the address into an empty folder. Raises MirrorError."""
        with self._reporting("read"):
            found = self._filesystem.find(str(self._root)) if self._filesystem.exists(str(self._root)) else []
            for path in found:
                name = PurePosixPath(path).relative_to(self._root)
                if str(name) != OWNER and ".." not in name.parts:
                    target = folder / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._filesystem.get_file(path, str(target))
        self._known = list_files(folder)

    def claim(self) -> None:
        """From now on the address belongs to this run; one that had it before will not write there again."""
        with self._reporting("written"):
            self._filesystem.makedirs(str(self._root), exist_ok=True)
            self._filesystem.pipe_file(str(self._root / OWNER), self._token.encode())

    def put(self, folder: Path, names: Sequence[str]) -> None:
        """Copies files that a run does not write itself, whoever the address belongs to. Raises MirrorError."""
        with self._reporting("written"):
            for name in names:
                self._put(folder, name)

    def push(self, folder: Path) -> None:
        """Copies what is new or changed, then removes what is gone.

        Raises:
          TakenOverError: another run was started with this address.
          MirrorError: it cannot be written; the next time what is missing will be copied, too.
        """
        files = list_files(folder)
        with self._reporting("written"):
            owner = self._filesystem.cat_file(str(self._root / OWNER)).decode()
            if owner == self._token:
                for name in (name for name, state in files.items() if self._known.get(name) != state):
                    self._put(folder, name)
                    self._known[name] = files[name]
                for name in set(self._known) - set(files):
                    self._filesystem.rm_file(str(self._root / name))
                    del self._known[name]
        if owner != self._token:
            raise TakenOverError(f"--workdir={self.address}: another run was started there and goes on; this one ends")

    def _put(self, folder: Path, name: str) -> None:
        target = self._root / name
        self._filesystem.makedirs(str(target.parent), exist_ok=True)
        self._filesystem.put_file(str(folder / name), str(target))

    @contextlib.contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each protocol has errors of its own
            reason = first_line(error, LONGEST_REASON)
            raise MirrorError(f"--workdir={self.address}: cannot be {what} ({reason})") from error


def list_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Time of change in ns and size of all files that are complete, in the order in which they are to be copied.

    Records before the checkpoints that cover them, and the summary, which says how the run ended, last.
    """
    files = {}
    for path in sorted(folder.rglob("*"), key=lambda path: (path.name == "summary.json", path.parent != folder, path)):
        name = path.relative_to(folder)
        is_partial = any(part.endswith(".partial") or "-tmp" in part or part == ".lock" for part in name.parts)
        if path.is_file() and not is_partial:
            status = path.stat()
            files[str(name)] = (status.st_mtime_ns, status.st_size)
    return files
