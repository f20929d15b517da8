"""Runs main.py in N processes on this machine, which train together: `./launch.sh local N [flags]`.

Process 0 writes to the terminal; lines of the others are shown after their number. Ctrl-C (or SIGTERM) is passed on to
all processes, which save and exit with 75; a second one kills them. When one fails, the others are stopped.
"""

import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from cli.exits import BAD_INPUT, IN_USE, INTERRUPTED, report
from cli.subprocesses import POLL_SECONDS, Subprocesses, managed_subprocesses

MAIN = Path(__file__).parents[1] / "main.py"
GRACE_SECONDS = 5.0


def show_output(index: int, process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        print(f"[{index}] {line}", end="", file=sys.stderr, flush=True)


def wait(group: Subprocesses) -> int:
    """Waits for all processes; returns the exit code of the first that did not end with 0."""
    code, failure, deadline = 0, "", float("inf")
    while None in (codes := group.poll()) or (code == 0 and any(codes)):
        if code == 0 and any(codes):
            first, code = next((index, found) for index, found in enumerate(codes) if found)
            if code not in (BAD_INPUT, IN_USE, INTERRUPTED):  # which the processes report themselves
                how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
                if code == -signal.SIGABRT and None in codes:
                    others = " or ".join(str(index) for index, found in enumerate(codes) if found is None)
                    how = f"was aborted (SIGABRT), as JAX does when another one ({others}) does not respond"
                failure = f"process {first} of {len(codes)} {how}; the same command continues the run"
                group.send(signal.SIGTERM)
            deadline = float("inf") if code == INTERRUPTED else time.monotonic() + GRACE_SECONDS
        if time.monotonic() > deadline:
            group.send(signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return report(failure, code) if failure else code


def main(arguments: list[str], program: Path = MAIN) -> int:
    """Returns the exit code of the first process that did not end with 0, as a shell gives it."""
    count, *flags = arguments or [""]
    if not (count.isascii() and count.isdigit() and 0 < int(count) < 10_000):
        return report(f"{count!r}: must be the number of processes, 1 or more: ./launch.sh local N [flags]", BAD_INPUT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = [f"--num_processes={count}", f"--coordinator_address=127.0.0.1:{listener.getsockname()[1]}"]
    with managed_subprocesses() as group:
        shown: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        for index in range(int(count)):
            command = [sys.executable, str(program), *flags, *place, f"--process_id={index}"]
            group.start(command, **(shown if index else {}))
        readers = [threading.Thread(target=show_output, args=each, daemon=True) for each in enumerate(group.processes)]
        for reader in readers:
            reader.start()  # after the last fork
        code = wait(group)
    for reader in readers:
        reader.join(2.0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
