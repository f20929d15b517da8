"""The processes of a run: what each is told of the others, and that all of them are alive.

Steps exchange numbers between devices by themselves. What is left is small: whether all are there at the start, whether
anyone was asked to stop, whether a file could be read. Those words go by a connection of every process with process 0.
The same connection shows when a process dies, stops or fails; nobody waits in vain for it then.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from aux_rnn.connections import BEAT_SECONDS, Connection, ConnectionLost, Message
from aux_rnn.errors import OneLineError

T = TypeVar("T")

# Called with one line and an exit code when another process is lost, from a thread: the main thread may be waiting for
# devices that will never answer, so that all it can usefully do is to say so and end the process.
OnLoss = Callable[[str, int], None]

FAILED = 1


class ProcessError(OneLineError):
    """Another process is missing, lost, or could not do its part. The text says which, in one line."""


class Processes:
    """The processes of a run, seen by one of them. Made by `join` (`joining.py`), or `ALONE`.

    Attributes:
      index: of this process, from 0.
      count: of all.
    """

    index = 0
    count = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes results and talks to people."""
        return self.index == 0

    def gather(self, value: Any) -> list[Any]:
        """What every process hands in, by process; all must call it, equally often. The values go through JSON.

        Raises:
          ProcessError: a process is lost.
        """
        return [value]

    def share(self, value: Any) -> Any:
        """What process 0 hands in."""
        return self.gather(value)[0]

    def attempt(self, work: Callable[[], T]) -> T:
        """Does `work` in every process; if it fails in one, it fails in all.

        Raises:
          ProcessError: it failed elsewhere, or here as it did in process 0, which reports it.
        """
        error: Exception | None = None
        try:
            result = work()
        except Exception as raised:
            error = raised
        lines = self.gather(None if error is None else str(error))
        if error is not None and (self.is_main or str(error) != lines[0]):
            raise error
        for index, line in enumerate(lines):
            if line is not None:
                raise ProcessError(f"process {index} of {self.count}: {line}")
        return result

    def main_first(self, work: Callable[[], T]) -> T:
        """Does `work` in process 0 and then in the others, which may find it done; fails like `attempt`."""
        if self.is_main:
            result = self.attempt(work)
            self.attempt(lambda: None)
            return result
        self.attempt(lambda: None)
        return self.attempt(work)

    def fail(self, line: str, code: int = FAILED) -> None:
        """Tells the others that this process ends, and why; they end, too."""

    def close(self) -> None:
        """Takes leave; from now on the end of this process is no loss."""


ALONE = Processes()


class Team(Processes):
    """Several processes, connected.

    Args:
      index: of this process.
      count: of all, at least 2.
      connections: `{process: connection}`; of process 0 with all others, of another one with process 0.
      on_loss: see `OnLoss`.
      beat_seconds: how often to say 'I am alive'.
    """

    def __init__(
        self,
        index: int,
        count: int,
        connections: Mapping[int, Connection],
        on_loss: OnLoss,
        beat_seconds: float = BEAT_SECONDS,
    ) -> None:
        self.index, self.count = index, count
        self._connections, self._on_loss = connections, on_loss
        self._inboxes: dict[int, queue.SimpleQueue[Message]] = {peer: queue.SimpleQueue() for peer in connections}
        self._leaving, self._lost = threading.Event(), threading.Lock()
        for peer in connections:
            threading.Thread(target=self._listen, args=(peer,), name=f"process {peer}", daemon=True).start()
        threading.Thread(target=self._beat, args=(beat_seconds,), name="beat", daemon=True).start()

    def gather(self, value: Any) -> list[Any]:
        if not self.is_main:
            self._send(0, {"value": value})
            return self._take(0)["values"]
        values = [value, *(self._take(peer)["value"] for peer in range(1, self.count))]
        for peer in self._connections:
            self._send(peer, {"values": values})
        return values

    def fail(self, line: str, code: int = FAILED) -> None:
        self._leaving.set()
        self._tell({"failed": f"process {self.index} of {self.count}: {line}", "code": code})

    def close(self) -> None:
        # Set before the others can know that all is over: whoever of them ends first is no loss.
        self._leaving.set()
        with contextlib.suppress(ProcessError):
            self.gather(None)

    def _send(self, peer: int, message: Message) -> None:
        try:
            self._connections[peer].send(message)
        except ConnectionLost as error:
            line = f"process {peer} of {self.count} {error}"
            self._lose(line, FAILED)
            raise ProcessError(line) from error

    def _take(self, peer: int) -> Message:
        message = self._inboxes[peer].get()
        if "failed" in message:
            self._inboxes[peer].put(message)  # for whoever asks again
            raise ProcessError(message["failed"])
        return message

    def _listen(self, peer: int) -> None:
        try:
            while "failed" not in (message := self._connections[peer].receive()):
                self._inboxes[peer].put(message)
        except ConnectionLost as error:
            message = {"failed": f"process {peer} of {self.count} {error}", "code": FAILED}
        self._lose(message["failed"], message["code"])

    def _lose(self, line: str, code: int) -> None:
        message = {"failed": line, "code": code}
        for inbox in self._inboxes.values():
            inbox.put(message)
        # The first loss brings others about, which would only hide it.
        if not self._leaving.is_set() and self._lost.acquire(blocking=False):
            self._tell(message)
            self._on_loss(line, code)

    def _tell(self, message: Message) -> None:
        for connection in self._connections.values():
            with contextlib.suppress(ConnectionLost):
                connection.send(message)

    def _beat(self, seconds: float) -> None:
        while not self._leaving.wait(seconds):
            for connection in self._connections.values():
                with contextlib.suppress(ConnectionLost):
                    connection.beat()
