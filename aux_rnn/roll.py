"""The roll call before a run of several processes: all of them there, none missing, none too many.

Process 0 waits at an address that all know; the others report there.
"""

import dataclasses
import math
import os
import socket
import threading
import time
from collections.abc import Sequence

from aux_rnn.connections import BEAT_SECONDS, Connection, ConnectionLost, Message
from aux_rnn.processes import ProcessError
from aux_rnn.settings import ConfigError

JOIN_SECONDS = 45.0
HELLO_SECONDS = 5.0
RETRY_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Place:
    """A process's place in a run.

    Attributes:
      index: of the process, from 0.
      count: of all processes.
      address: 'host:port' where process 0 waits for the others.
      local_devices: which devices of the machine it takes; None takes all.
    """

    index: int
    count: int
    address: str
    local_devices: Sequence[int] | None = None


def split_address(address: str) -> tuple[str, int]:
    """Host and port; raises ConfigError for what is no 'host:port'."""
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ConfigError(f"--coordinator_address={address}: must be HOST:PORT, the port from 1 to 65535")
    return host.strip("[]"), int(port)


def call_roll(place: Place, seconds: float = JOIN_SECONDS) -> tuple[dict[int, Connection], str]:
    """Process 0: waits for the others.

    Returns:
      `{process: connection}`, and the address at which JAX is to be started.

    Raises:
      ProcessError: not all came in time; those who did are told.
    """
    host, port = split_address(place.address)
    try:
        listener = socket.create_server(("", port), backlog=place.count)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise ProcessError(
            f"--coordinator_address={place.address}: the port cannot be listened at ({reason}); name another"
        ) from error
    present: dict[int, Connection] = {}
    until = time.monotonic() + seconds
    while len(present) < place.count - 1:
        listener.settimeout(max(0.01, until - time.monotonic()))
        try:
            stream, _ = listener.accept()
        except TimeoutError:
            listener.close()
            raise tell_missing(place, present, seconds) from None
        present |= admit(stream, place, present)
    jax_address = f"{host}:{free_port_beside(port)}"
    for connection in present.values():
        connection.send({"jax": jax_address})
    threading.Thread(target=turn_away, args=(listener, place, present), name="roll", daemon=True).start()
    return present, jax_address


def admit(stream: socket.socket, place: Place, present: dict[int, Connection]) -> dict[int, Connection]:
    """The process that has just called, by its number; nothing if it does not belong here, which it is told."""
    connection = Connection(stream, HELLO_SECONDS)
    try:
        hello = connection.receive(silent_beats=1)
        refusal = find_refusal(hello, place, present)
        if refusal:
            connection.send({"refused": refusal})
    except ConnectionLost:
        refusal = "no process of a run"
    if refusal:
        connection.close()
        return {}
    return {hello["process"]: Connection(stream)}


def find_refusal(hello: Message, place: Place, present: dict[int, Connection]) -> str:
    """Why a process does not belong to the run; empty if it does."""
    index, count = hello.get("process"), hello.get("processes")
    if count != place.count:
        return f"--num_processes={count}: process 0 expects {place.count} processes; give all the same number"
    if index not in range(1, place.count):
        return f"--process_id={index}: process 0 expects {place.count} processes, from 0 to {place.count - 1}"
    if index in present:
        seen = len(present) + 2
        return f"--process_id={index}: is there already ({place.count} processes expected, {seen} seen with this one)"
    return ""


def tell_missing(place: Place, present: dict[int, Connection], seconds: float) -> ProcessError:
    """The error for a roll that is not complete, which all who came are told."""
    missing = ", ".join(str(index) for index in range(1, place.count) if index not in present)
    line = (
        f"{place.count} processes expected, {len(present) + 1} seen within {seconds:.0f} seconds; "
        f"missing: {missing}; start all of them"
    )
    for connection in present.values():
        try:
            connection.send({"refused": line})
        except ConnectionLost:
            continue
    return ProcessError(line)


def turn_away(listener: socket.socket, place: Place, present: dict[int, Connection]) -> None:
    """Tells whoever comes later that the run is complete."""
    listener.settimeout(None)
    while True:
        admit(listener.accept()[0], place, present)


def report_to_roll(place: Place, seconds: float = JOIN_SECONDS) -> tuple[dict[int, Connection], str]:
    """Any other process: as `call_roll`, with the one connection to process 0."""
    until = time.monotonic() + seconds
    while True:
        try:
            stream = socket.create_connection(split_address(place.address), timeout=HELLO_SECONDS)
            break
        except OSError as error:
            if time.monotonic() > until:
                reason = error.strerror or error
                raise ProcessError(
                    f"--coordinator_address={place.address}: process 0 does not answer there ({reason}): "
                    f"{place.count} processes expected, 1 seen within {seconds:.0f} seconds; start all of them"
                ) from error
            time.sleep(RETRY_SECONDS)
    connection = Connection(stream)
    try:
        connection.send({"process": place.index, "processes": place.count})
        answer = connection.receive(silent_beats=math.ceil((seconds + 2 * HELLO_SECONDS) / BEAT_SECONDS))
    except ConnectionLost as error:
        raise ProcessError(f"--coordinator_address={place.address}: process 0 {error}") from error
    if "jax" not in answer:
        raise ProcessError(str(answer.get("refused", f"{place.address}: is no process of a run")))
    return {0: connection}, answer["jax"]


def free_port_beside(port: int) -> int:
    """The next port that nothing listens at. JAX itself would not survive finding it taken."""
    for candidate in range(port + 1, min(port + 100, 1 << 16)):
        try:
            socket.create_server(("", candidate)).close()
        except OSError:
            continue
        return candidate
    raise ProcessError(f"--coordinator_address: no port is free from {port + 1} on; name another")
