"""Downloading one file: bounded waiting, verified content, and nothing half-written under the final name."""

import contextlib
import hashlib
import http.client
import os
import queue
import secrets
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from absl import logging

from aux_rnn.datasets.errors import DataError
from aux_rnn.errors import first_line

# Nobody should wait for a network that is not there: a connection has so long
# to be made and answered, and from then on so long for each piece.
CONNECT_SECONDS = 10.0
STALL_SECONDS = 60.0
PIECE_BYTES = 1 << 20

# Opens an address for reading, given the socket's time limit in seconds.
OpenUrl = Callable[[str, float], Any]


def open_url(url: str, timeout: float) -> Any:
    """Opens an address; proxies are taken from the environment, as usual."""
    return urllib.request.urlopen(url, timeout=timeout)


def connect(url: str, opener: OpenUrl = open_url, seconds: float = CONNECT_SECONDS) -> Any:
    """Opens an address within a time limit that also covers name look-up, redirects and every address tried.

    A socket's own limit covers none of those: a resolver whose packets are dropped blocks inside the C library for a
    minute or more. The attempt is therefore made in a daemon thread, which is left behind when its time is over.

    Raises:
      DataError: there is no answer in time, or a refusal.
    """
    host = urllib.parse.urlsplit(url).hostname
    answers: queue.Queue[Any] = queue.Queue()
    abandoned = threading.Event()

    def attempt() -> None:
        try:
            response = opener(url, STALL_SECONDS)
        except Exception as error:  # whatever went wrong belongs to the waiting thread
            answers.put(error)
            return
        answers.put(response)
        if abandoned.is_set():
            response.close()

    threading.Thread(target=attempt, name="connect", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        abandoned.set()
        raise DataError(f"no answer from {host} within {seconds:g} seconds") from None
    if isinstance(answer, Exception):
        raise DataError(f"{host}: {first_line(answer)}") from answer
    return answer


def download_file(
    url: str,
    path: Path,
    size: int,
    sha256: str,
    opener: OpenUrl = open_url,
    connect_seconds: float = CONNECT_SECONDS,
) -> Path:
    """Downloads to a temporary file beside `path`, which gets its name only when it is complete and verified.

    Returns:
      `path`.

    Raises:
      DataError: no connection, an interrupted one, other content than expected, or no room for it.
    """
    response = connect(url, opener, connect_seconds)
    logging.info("Downloading %s (%.1f MB) to %s", url, size / 1e6, path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with response:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as stream:
                copied, digest = copy_stream(response, stream, limit=size)
        if (copied, digest) != (size, sha256):
            raise DataError(
                f"{url}: received {copied:,} bytes with sha256 {digest} instead of {size:,} bytes with {sha256}"
            )
        os.replace(part, path)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(f"{url} to {path}: {first_line(error)}") from error
    finally:
        with contextlib.suppress(OSError):  # renamed, or never made
            part.unlink()
    return path


def copy_stream(response: Any, stream: BinaryIO, limit: int) -> tuple[int, str]:
    """Copies until the end, or just beyond `limit` bytes; returns the bytes copied and their sha256."""
    digest, copied = hashlib.sha256(), 0
    while copied <= limit and (piece := response.read(PIECE_BYTES)):
        stream.write(piece)
        digest.update(piece)
        copied += len(piece)
    return copied, digest.hexdigest()
