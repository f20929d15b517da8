"""Starts the program as a user does, disturbs it at a chosen moment, and compares its end with an undisturbed run.

A *moment* is a function of a running program that returns True once the moment has come.
"""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aux_rnn.config.fields import format_value

ROOT = Path(__file__).parent.parent
# Most of the tests' time is compilation, which takes a third of the time without optimization and fusion emitters.
# AUX_RNN_XLA_FLAGS= (empty) compiles as for users, which CI does once. XLA aborts for flags that it does not know.
HAS_EMITTER_FLAG = int(version("jaxlib").split(".")[1]) < 12
QUICK_XLA_FLAGS = "--xla_backend_optimization_level=0" + " --xla_cpu_use_fusion_emitters=false" * HAS_EMITTER_FLAG
XLA_FLAGS = os.environ.get("AUX_RNN_XLA_FLAGS", QUICK_XLA_FLAGS)
BAD_INPUT, FAILED, IN_USE, INTERRUPTED = 2, 1, 73, 75

# Digits shrunk to 16 pixels: 15 steps, of which every third ends an epoch and every second is saved.
STEPS = 15
SETTINGS = dict(dataset="digits", image_size=4, train_examples=24, batch_size=8, auxiliary="reconstruct")
SETTINGS |= dict(embedding_size=4, hidden_size=6, head_sizes=(5,), decoder_sizes=(5,), decoder_head_sizes=(5,))
SETTINGS |= dict(segment_length=5, supervised_truncation=4, auxiliary_truncation=3, decoder_truncation="full")
SETTINGS |= dict(pretrain_epochs=1, train_epochs=4, log_every_steps=1, checkpoint_every_steps=2, pictures=False)
FLAGS = [f"--{name}={format_value(value)}" for name, value in SETTINGS.items()]


def command(workdir: Path, data_dir: Path | str, *flags: str) -> list[str]:
    """Returns the command line of a tiny run; later flags win."""
    main = str(ROOT / "experiments/main.py")
    return [sys.executable, main, *FLAGS, f"--workdir={workdir}", f"--data_dir={data_dir}", *flags]


@dataclasses.dataclass(frozen=True)
class Ended:
    """A program that has ended: its exit code (negative: the signal that killed it) and its output."""

    code: int
    out: str
    err: str

    def check_stopped(self, code: int, *parts: str) -> None:
        """Asserts that it ended with this code and one error line, which contains each of the parts."""
        lines, tail = self.err.splitlines(), self.err[-2000:]
        assert "Traceback" not in self.err, tail
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], tail
        assert self.code == code, tail
        for part in parts:
            assert part in lines[-1], f"{part!r} is not in {lines[-1]!r}"


class Program:
    """A running program in a process group of its own, which writes its output to files in a folder."""

    def __init__(self, argv: Sequence[str], folder: Path, root: Path = ROOT) -> None:
        variables = {**os.environ, "PYTHONPATH": str(root), "XLA_FLAGS": XLA_FLAGS}
        self.started, self._out, self._err = time.monotonic(), folder / "out", folder / "err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(argv, stdout=out, stderr=err, env=variables, start_new_session=True)
        self.send = self.process.send_signal

    @property
    def err(self) -> list[str]:
        """The complete lines on standard error so far."""
        return self._err.read_text().split("\n")[:-1]

    def wait_for(self, moment: "Moment", seconds: float = 240) -> bool:
        """Waits until the moment has come; returns False if the program ended before."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            if moment(self):
                return True
            assert time.monotonic() < deadline, f"the moment never came; {self.err}"
            time.sleep(0.001)
        return False

    def end(self, seconds: float = 240) -> Ended:
        """Waits until it has ended."""
        return Ended(self.process.wait(seconds), self._out.read_text(), self._err.read_text())


Moment = Callable[[Program], bool]


@contextlib.contextmanager
def start(argv: Sequence[str], root: Path = ROOT) -> Iterator[Program]:
    """Starts a program; kills it and all of its children when the block is left."""
    with tempfile.TemporaryDirectory() as folder:
        program = Program(argv, Path(folder), root)
        try:
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.process.pid, signal.SIGKILL)
            program.process.wait()


def run(argv: Sequence[str], root: Path = ROOT) -> Ended:
    """Runs a program to its end; it imports `aux_rnn` from `root`."""
    with start(argv, root) as program:
        return program.end()


def interrupt(argv: Sequence[str]) -> Ended:
    """Runs the command of `command` until some steps are saved, and asks it to stop."""
    with start(argv) as program:
        program.wait_for(shown("train 7/"))
        program.send(signal.SIGTERM)
        return program.end()


def shown(beginning: str) -> Moment:
    """Once a line on standard error starts like this."""
    return lambda program: any(line.startswith(beginning) for line in program.err)


def exists(folder: Path, pattern: str) -> Moment:
    """Once there is such a file or folder."""
    return lambda program: any(folder.glob(pattern))


def loaded(library: str) -> Moment:
    """Once the process has loaded a library; needs Linux."""
    return lambda program: library in Path(f"/proc/{program.process.pid}/maps").read_text()


def later(moment: Moment, seconds: float) -> Moment:
    """So long after another moment."""
    seen: list[float] = []

    def has_come(program: Program) -> bool:
        if not seen and moment(program):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + seconds

    return has_come


def read_end(workdir: Path) -> dict[str, Any]:
    """Returns what two runs of the same command have in common: everything except times and memory."""
    summary = json.loads((workdir / "summary.json").read_text())
    names = ("status", "steps", "params_digest", "results", "validation_accuracy", "test_accuracy", "best")
    return {**{name: summary.get(name) for name in names}, "metrics": read_metrics(workdir)}


def read_metrics(workdir: Path) -> list[dict[str, Any]]:
    """Returns the records without times."""
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")} for record in records]


@dataclasses.dataclass(frozen=True)
class Undisturbed:
    """The folder of a run that nothing disturbed, and that of its prepared data."""

    workdir: Path
    data_dir: str

    @classmethod
    def run(cls, workdir: Path, data_dir: str) -> "Undisturbed":
        ended = run(command(workdir, data_dir))
        assert ended.code == 0, ended.err[-2000:]
        return cls(workdir, data_dir)

    @functools.cached_property
    def end(self) -> dict[str, Any]:
        return read_end(self.workdir)

    @functools.cached_property
    def seconds(self) -> float:
        """The time that it takes with cached compilations."""
        started = time.monotonic()
        assert run(command(self.workdir.with_name("again"), self.data_dir)).code == 0
        return time.monotonic() - started

    def check_continued(self, workdir: Path, argv: Sequence[str]) -> Ended:
        """Runs the command again and asserts that it ends as this run did."""
        ended = run(argv)
        assert ended.code == 0, ended.err[-2000:]
        assert read_end(workdir) == self.end
        return ended


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file below a folder except the lock, to assert that nothing was changed."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
