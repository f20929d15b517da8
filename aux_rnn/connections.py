"""A connection between two processes of a run: JSON messages over TCP, with beats in between that say 'I am alive'."""

import json
import socket
import threading
from typing import Any

BEAT_SECONDS = 2.0
SILENT_BEATS = 10  # after so many beats without a word the other process is taken for dead
LONGEST_MESSAGE = 1 << 20

Message = dict[str, Any]


class ConnectionLost(Exception):  # noqa: N818  it is lost, not wrong
    """The other process is gone or silent. The text completes 'process 1 ...'."""


class Connection:
    """One message after the other, each a JSON object on a line of its own.

    Args:
      stream: a connected TCP socket.
      beat_seconds: how long a wait lasts that counts as one beat missed.
    """

    def __init__(self, stream: socket.socket, beat_seconds: float = BEAT_SECONDS) -> None:
        self._socket, self._received = stream, b""
        self._lock = threading.Lock()
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.settimeout(beat_seconds)

    def send(self, message: Message) -> None:
        """Raises ConnectionLost if the other process takes nothing any more."""
        with self._lock:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError as error:
                raise ConnectionLost("is gone") from error

    def receive(self, silent_beats: int = SILENT_BEATS) -> Message:
        """The next message; beats are passed over.

        Silence is counted in waits of this process and not in seconds, so that a run which was stopped as a whole and
        goes on later (a suspended laptop, Ctrl-Z) does not take its own sleep for the death of the others.

        Raises:
          ConnectionLost: the other process has closed the connection, is silent, or does not speak as one of ours.
        """
        waits = 0
        while True:
            line, found, rest = self._received.partition(b"\n")
            if found:
                self._received, waits = rest, 0
                if message := parse(line):
                    return message
                continue
            try:
                piece = self._socket.recv(1 << 16)
            except TimeoutError:
                waits += 1
                if waits >= silent_beats:
                    seconds = waits * (self._socket.gettimeout() or 0.0)
                    raise ConnectionLost(f"has not answered for {seconds:.0f} seconds") from None
                continue
            except OSError as error:
                raise ConnectionLost("is gone") from error
            if not piece:
                raise ConnectionLost("is gone")
            self._received += piece
            if len(self._received) > LONGEST_MESSAGE:
                raise ConnectionLost("is no process of a run")

    def beat(self) -> None:
        self.send({})

    def close(self) -> None:
        self._socket.close()


def parse(line: bytes) -> Message:
    """The message on a line, empty for a beat; raises ConnectionLost for what is none."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise ConnectionLost("is no process of a run")
    return message
