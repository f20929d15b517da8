"""Working at an address such as gs://bucket/run through a local copy of what is there."""

import contextlib
import logging as python_logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.asyn import AsyncFileSystem

from aux_rnn.config.fields import ConfigError, is_plain_text, setting_error, to_plain
from aux_rnn.errors import OneLineError, first_line
from aux_rnn.storage.remote import MAX_REASON, RemoteCopy
from aux_rnn.system.logs import filtered_log

GLOB_CHARACTERS = "*?["


def is_address(path: str) -> bool:
    return "://" in path


@contextlib.contextmanager
def local_copy(address: str) -> Iterator[tuple[Path, RemoteCopy]]:
    """Yields a temporary folder with what is at an address, and the copy there; the folder is removed at the end.

    The folder stays if its last upload failed. Errors and warnings name the address in place of the folder.

    Raises:
      ConfigError: the address or its bucket does not exist.
      RemoteError: it cannot be read; or, at the end, it could not be written: then the text says where the folder is.
    """
    remote = open_remote(address)
    folder = Path(tempfile.mkdtemp(prefix="aux_rnn-"))

    def name_address(record: python_logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage().replace(str(folder), address), ()
        return True

    try:
        with filtered_log(name_address), contextlib.closing(remote):
            remote.download(folder)
            yield folder, remote
    except OneLineError as error:
        kept = f"; the latest results are in {folder}; the same command continues from what was copied"
        text = str(error).replace(str(folder), address) + (kept if remote.upload_failed else "")
        raise type(error)(text) from error
    finally:
        if not remote.upload_failed:
            shutil.rmtree(folder, ignore_errors=True)


def open_remote(address: str) -> RemoteCopy:
    """Returns the copy at an address, which is not read yet. Raises ConfigError if there is no way to use it."""
    if any(character in address for character in GLOB_CHARACTERS):
        raise ConfigError(f"workdir={address}: must not contain any of {' '.join(GLOB_CHARACTERS)}")
    protocol = address.partition("://")[0]
    try:
        filesystem, root = fsspec.url_to_fs(address)
    except Exception as error:  # each protocol has its own
        extra = {"gs": "gcs", "gcs": "gcs", "s3": "s3", "s3a": "s3"}.get(protocol)
        is_missing = extra is not None and isinstance(error, ImportError)
        remedy = f"; EXTRAS={extra} ./launch.sh install adds it" * is_missing
        raise ConfigError(f"workdir={address}: cannot be used ({first_line(error, MAX_REASON)}){remedy}") from error
    if isinstance(filesystem, AsyncFileSystem) and not root.partition("/")[0]:
        raise ConfigError(f"workdir={address}: must name a bucket, as in {protocol}://BUCKET/RUN")
    return RemoteCopy(address, filesystem, root)


def open_workdir(workdir: str | os.PathLike) -> contextlib.AbstractContextManager[tuple[Path, RemoteCopy | None]]:
    """Opens the folder, with ~ resolved, or a local copy of the address of a run, which is updated."""
    name = to_plain(workdir)
    if not isinstance(name, str) or not name or not is_plain_text(name):
        raise setting_error(
            "workdir", workdir, "a folder, an address such as gs://BUCKET/RUN, or None to write nothing"
        )
    return local_copy(name) if is_address(name) else contextlib.nullcontext((Path(os.path.expanduser(name)), None))
