"""Starting the program as a user does, meeting it at a chosen moment, and holding its end against an undisturbed run.

A *moment* is a function of a program under way, true once the moment has come.
"""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BAD_INPUT, FAILED, IN_USE, INTERRUPTED = 2, 1, 73, 75

# Digits shrunk to 16 pixels: 15 steps, of which every third ends an epoch and every second is saved.
STEPS = 15
FLAGS = (
    *("--dataset=digits", "--image_size=4", "--train_examples=24", "--batch_size=8", "--auxiliary=reconstruct"),
    *("--embedding_size=4", "--hidden_size=6", "--head_sizes=5", "--decoder_sizes=6,5", "--decoder_head_sizes=5"),
    *("--segment_length=5", "--supervised_truncation=4", "--auxiliary_truncation=3", "--decoder_truncation=full"),
    *("--pretrain_epochs=1", "--train_epochs=4", "--log_every_steps=1", "--checkpoint_every_steps=2"),
)


def command(workdir: Path, data_dir: Path | str, *flags: str) -> list[str]:
    """The command line of a tiny run; later flags win."""
    main = str(ROOT / "experiments/main.py")
    return [sys.executable, main, *FLAGS, f"--workdir={workdir}", f"--data_dir={data_dir}", *flags]


@dataclasses.dataclass(frozen=True)
class Ended:
    """A program that has ended: its exit code (negative: the signal it died of) and what it wrote."""

    code: int
    out: str
    err: str

    def check_stopped(self, code: int, *parts: str) -> None:
        """It ended with this code and one line on what went wrong, which names each of the parts; no traceback."""
        lines, tail = self.err.splitlines(), self.err[-2000:]
        assert "Traceback" not in self.err, tail
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], tail
        assert self.code == code, tail
        for part in parts:
            assert part in lines[-1], f"{part!r} is not in {lines[-1]!r}"


class Program:
    """A program under way, in a process group of its own.

    Args:
      argv: its command line.
      variables: of the environment, beside those of this process.
    """

    def __init__(self, argv: Sequence[str], **variables: str) -> None:
        inherited = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_backend_optimization_level=0"}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**inherited, **variables},
            start_new_session=True,
        )
        self.out: list[str] = []
        self.err: list[str] = []
        streams = ((self.process.stdout, self.out), (self.process.stderr, self.err))
        self._readers = [threading.Thread(target=lines.extend, args=(stream,)) for stream, lines in streams]
        for reader in self._readers:
            reader.start()

    def wait_for(self, moment: "Moment", seconds: float = 240) -> bool:
        """Waits until the moment has come; False if the program ended before."""
        deadline = time.monotonic() + seconds
        while not moment(self):
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"the moment never came; {''.join(self.err)}"
            time.sleep(0.001)
        return True

    def freeze(self, moment: "Moment") -> bool:
        """Waits for the moment and stops the program in the midst of it; False if the program ended before."""
        while self.wait_for(moment):
            self.send(signal.SIGSTOP)
            child = os.P_PID, self.process.pid
            if os.waitid(*child, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code != os.CLD_STOPPED:
                return False
            os.waitid(*child, os.WSTOPPED)
            if moment(self):
                return True
            self.send(signal.SIGCONT)  # it was over before the program had stopped
        return False

    def send(self, number: int) -> None:
        """Sends a signal to the program itself, if it has not ended."""
        self.process.send_signal(number)

    def end(self, seconds: float = 240) -> Ended:
        """Waits until it has ended."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join()
        return Ended(code, "".join(self.out), "".join(self.err))

    def destroy(self) -> None:
        """Kills whatever is left of the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


Moment = Callable[[Program], bool]


@contextlib.contextmanager
def start(argv: Sequence[str], **variables: str) -> Iterator[Program]:
    """A program that is gone with everything it started when the block is left."""
    program = Program(argv, **variables)
    try:
        yield program
    finally:
        program.destroy()


def run(argv: Sequence[str], **variables: str) -> Ended:
    """Runs a program, undisturbed, to its end."""
    with start(argv, **variables) as program:
        return program.end()


def interrupt(argv: Sequence[str]) -> Ended:
    """Runs the command of `command` until some steps are saved, and asks it to stop."""
    with start(argv) as program:
        program.wait_for(shown("train 7/"))
        program.send(signal.SIGTERM)
        return program.end()


def after(seconds: float) -> Moment:
    """So long after the start."""
    return lambda program: time.monotonic() >= program.started + seconds


def shown(beginning: str) -> Moment:
    """Once a line with this beginning stands on standard error."""
    return lambda program: any(line.startswith(beginning) for line in list(program.err))


def exists(folder: Path, pattern: str) -> Moment:
    """Once there is such a file or folder."""
    return lambda program: any(folder.glob(pattern))


def loaded(library: str) -> Moment:
    """Once the process itself has loaded a library; Linux alone can tell."""

    def is_loaded(program: Program) -> bool:
        try:
            return library in Path(f"/proc/{program.process.pid}/maps").read_text()
        except OSError:
            return False

    return is_loaded


def both(first: Moment, second: Moment) -> Moment:
    """While both are true."""
    return lambda program: first(program) and second(program)


def later(moment: Moment, seconds: float) -> Moment:
    """So long after another moment."""
    seen: list[float] = []

    def has_come(program: Program) -> bool:
        if not seen and moment(program):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + seconds

    return has_come


def find_stage(program: Program, workdir: Path, data_dir: Path) -> str:
    """What a single process is at, by what can be seen of it; to be asked while it is stopped."""
    steps = [line for line in program.err if line.startswith(("pretrain ", "train "))]
    if (workdir / "summary.json").exists():
        return "end"
    if any(workdir.glob("*/*.orbax-checkpoint-tmp*")):
        return "save"
    if steps:
        number = int(steps[-1].split()[1].split("/")[0])
        is_due = number % 3 == 0 and "test:" not in steps[-1]
        return "evaluation" if is_due and ("validation:" not in steps[-1] or number == STEPS) else "steps"
    if (workdir / "checkpoints").exists():
        return "compilation"
    if any(data_dir.glob("*/incomplete*")):
        return "preparation"
    return "import" if loaded("jaxlib")(program) else "interpreter"


def read_end(workdir: Path) -> dict[str, Any]:
    """What two runs of the same command have in common: all but times and memory."""
    summary = json.loads((workdir / "summary.json").read_text())
    names = ("status", "steps", "params_digest", "results", "validation_accuracy", "test_accuracy")
    return {**{name: summary.get(name) for name in names}, "metrics": read_metrics(workdir)}


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """The records without the times, which no two runs share."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")} for record in records]


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """A run that nothing disturbed.

    Args:
      data_dir: where its data lies prepared.
      end: see `read_end`.
      argv: a command that repeats it elsewhere.
    """

    data_dir: str
    end: dict[str, Any]
    argv: Sequence[str]

    @classmethod
    def run(cls, workdir: Path, data_dir: str) -> "Undisturbed":
        ended = run(command(workdir, data_dir))
        assert ended.code == 0, ended.err[-2000:]
        return cls(data_dir, read_end(workdir), command(workdir.with_name("again"), data_dir))

    @functools.cached_property
    def seconds(self) -> float:
        """What it takes, with programs that were compiled before."""
        started = time.monotonic()
        assert run(self.argv).code == 0
        return time.monotonic() - started

    def check_continued(self, workdir: Path, argv: Sequence[str]) -> Ended:
        """Starts the command again, undisturbed; it must end as this run did."""
        ended = run(argv)
        assert ended.code == 0, ended.err[-2000:]
        assert read_end(workdir) == self.end
        return ended


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, but for the lock, to see that nothing was lost."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
