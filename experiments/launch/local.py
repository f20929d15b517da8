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

from exits import BAD_INPUT, IN_USE, INTERRUPTED, report

MAIN = Path(__file__).parents[1] / "main.py"
GRACE_SECONDS = 5.0
PRCTL = getattr(ctypes.CDLL(None), "prctl", lambda *unused: None)
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG: Linux kills the processes when this one dies

Processes = list[subprocess.Popen[str]]


def show_output(index: int, process: subprocess.Popen[str]) -> None:
    for line in process.stdout or ():
        print(f"[{index}] {line}", end="", file=sys.stderr, flush=True)


def send(processes: Processes, number: int) -> None:
    for process in processes:
        process.send_signal(number)


def describe_failure(processes: Processes, first: int) -> str:
    """Names the process that ended first, or one that is suspended, for which the others waited in vain."""
    for index, process in enumerate(processes):
        if process.poll() is None and os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT):
            return f"process {index} of {len(processes)} was suspended and did not respond"
    code = processes[first].returncode
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with exit code {code}"
    return f"process {first} of {len(processes)} {how}"


def wait(processes: Processes, signals: list[int]) -> int:
    """Waits for all processes; returns the exit code of the first that did not end with 0, as a shell gives it."""
    code, failure, deadline = 0, "", float("inf")
    while True:
        codes = [process.poll() for process in processes]
        if code == 0 and any(codes):
            first, code = next((index, found) for index, found in enumerate(codes) if found)
            if -code in signals:  # it was still starting
                code = INTERRUPTED
            elif code not in (BAD_INPUT, IN_USE, INTERRUPTED):  # which the processes report themselves
                failure = f"{describe_failure(processes, first)}; the same command continues the run"
                send(processes, signal.SIGTERM)
            deadline = float("inf") if code == INTERRUPTED else time.monotonic() + GRACE_SECONDS
        if None not in codes:
            break
        if len(signals) > 1 or time.monotonic() > deadline:
            send(processes, signal.SIGKILL)
        time.sleep(0.02)
    return report(failure, code) if failure else code


def main(arguments: list[str], program: Path = MAIN) -> int:
    count, *flags = arguments or [""]
    if not (count.isascii() and count.isdigit() and 0 < int(count) < 10_000):
        return report(f"{count!r}: must be the number of processes, 1 or more: ./launch.sh local N [flags]", BAD_INPUT)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = [f"--num_processes={count}", f"--coordinator_address=127.0.0.1:{listener.getsockname()[1]}"]
    processes: Processes = []
    signals: list[int] = []

    def stop(number: int, frame: object) -> None:
        signals.append(number)
        if len(signals) == 1:
            send(processes, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, stop)
    for index in range(int(count)):
        process = subprocess.Popen(
            [sys.executable, str(program), *flags, *place, f"--process_id={index}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if index else None,
            stderr=subprocess.STDOUT if index else None,
            text=True,
            errors="replace",
            start_new_session=True,  # the signals of the terminal reach it through this program only
            preexec_fn=lambda: PRCTL(PARENT_DEATH_SIGNAL, signal.SIGKILL),
        )
        processes.append(process)
    readers = [threading.Thread(target=show_output, args=(k, p), daemon=True) for k, p in enumerate(processes)]
    for reader in readers:
        reader.start()  # after the last fork
    code = wait(processes, signals)
    for reader in readers:
        reader.join(2.0)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
