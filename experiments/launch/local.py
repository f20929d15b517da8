"""Runs main.py in N processes on this machine, which train together: `./launch.sh local N [flags]`.

Process 0 writes to the terminal; lines of the others are shown after their number. Ctrl-C (or SIGTERM) is passed on to
all processes, which save and exit with 75; a second one kills them. When one fails, the others are stopped.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from exits import BAD_INPUT, INTERRUPTED, report

MAIN = Path(__file__).parents[1] / "main.py"
GRACE_SECONDS = 5.0
SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2): Linux kills the processes when this one dies
PRCTL = getattr(ctypes.CDLL(None), "prctl", lambda *unused: None)


def start(index: int, command: list[str]) -> subprocess.Popen[str]:
    """Starts a process in a session of its own, so that Ctrl-C reaches it through this program only."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if index else None,
        stderr=subprocess.STDOUT if index else None,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=lambda: PRCTL(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL),
    )


def show_output(index: int, process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        print(f"[{index}] {line}", end="", file=sys.stderr, flush=True)


def describe_end(processes: list[subprocess.Popen[str]], first: int) -> str:
    """Names the process that ended first, or the one that was suspended, for which the others waited in vain."""
    wait_for_stopped = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    for index, process in enumerate(processes):
        if process.poll() is None and os.waitid(os.P_PID, process.pid, wait_for_stopped):
            return f"process {index} of {len(processes)} was suspended and did not respond"
    code = processes[first].returncode
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    return f"process {first} of {len(processes)} {how}"


def wait(processes: list[subprocess.Popen[str]], signals: list[int]) -> int:
    """Waits for all processes; returns the exit code of the first that did not end with 0, as a shell gives it."""
    first, code, deadline = None, 0, float("inf")
    while None in (codes := [process.poll() for process in processes]) or (first is None and any(codes)):
        if first is None and any(codes):
            first, code = next((index, found) for index, found in enumerate(codes) if found)
            if -code in signals:  # it was still starting
                code = INTERRUPTED
            elif code not in (BAD_INPUT, INTERRUPTED):  # which processes report themselves
                report(f"{describe_end(processes, first)}; the same command continues the run", code)
                send(processes, signal.SIGTERM)
            deadline = float("inf") if code == INTERRUPTED else time.monotonic() + GRACE_SECONDS
        if len(signals) > 1 or time.monotonic() > deadline:
            send(processes, signal.SIGKILL)
        time.sleep(0.02)
    return code if code >= 0 else 128 - code


def send(processes: list[subprocess.Popen[str]], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def main(arguments: list[str], program: Path = MAIN) -> int:
    count, *flags = arguments or [""]
    if not (count.isascii() and count.isdigit() and 0 < int(count) < 10_000):
        return report(f"{count!r}: must be the number of processes, 1 or more: ./launch.sh local N [flags]", BAD_INPUT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = [f"--num_processes={count}", f"--coordinator_address=127.0.0.1:{listener.getsockname()[1]}"]
    command = [sys.executable, str(program), *flags, *place]
    processes: list[subprocess.Popen[str]] = []
    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        signals.append(number)
        if len(signals) == 1:
            send(processes, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)
    for index in range(int(count)):
        processes.append(start(index, [*command, f"--process_id={index}"]))
    readers = [threading.Thread(target=show_output, args=(k, p), daemon=True) for k, p in enumerate(processes)]
    for reader in readers:  # only now, as no process must be forked while threads run
        reader.start()
    code = wait(processes, signals)
    for reader in readers:
        reader.join(2.0)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
