"""gcloud's commands for a slice of TPUs and for what a run left in a bucket, and how they are run.

The syntax is that of gcloud 528, by its own reference and source; none of it has ever been run in the cloud.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from launching.screen import for_each_line

POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0  # from SIGTERM to SIGKILL for a gcloud that is no longer wanted
# Of a host that is taken away nothing comes any more, not even an end of the connection: ask for a sign of life.
SSH_FLAGS = "-oServerAliveInterval=30 -oServerAliveCountMax=4 -oConnectTimeout=30"


class CommandError(Exception):
    """A command failed. The text names it and says why, in one line.

    Attributes:
      output: all it said on standard error.
    """

    def __init__(self, command: Sequence[str], code: int, output: str) -> None:
        super().__init__(f"{short_name(command)}: exit code {code}: {main_line(output)}")
        self.output = output

    @property
    def is_missing(self) -> bool:
        """Whether what was asked for does not exist."""
        return "NOT_FOUND" in self.output or "not found" in self.output.lower()

    @property
    def is_taken(self) -> bool:
        """Whether what was to be created exists already."""
        return "ALREADY_EXISTS" in self.output or "already exists" in self.output.lower()


def main_line(output: str) -> str:
    """The line in which gcloud names the error, or else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return re.sub(r"^\(gcloud\.[\w.-]+\) ", "", errors[-1]) if errors else lines[-1]


def short_name(command: Sequence[str]) -> str:
    """The command without its flags."""
    return shlex.join(word for word in command if not word.startswith("-"))


@dataclass(frozen=True)
class Slice:
    """A slice of TPUs by its name, and the commands that concern it. Queued resource and node have the same name."""

    name: str
    zone: str
    project: str
    accelerator: str
    version: str
    spot: bool

    @property
    def _place(self) -> list[str]:
        return [f"--zone={self.zone}", f"--project={self.project}", "--quiet"]  # quiet: no questions

    def create(self) -> list[str]:
        wanted = [f"--node-id={self.name}", f"--accelerator-type={self.accelerator}"]
        wanted += [f"--runtime-version={self.version}", *(["--spot"] if self.spot else [])]
        return ["gcloud", "compute", "tpus", "queued-resources", "create", self.name, *wanted, *self._place]

    def describe(self) -> list[str]:
        return ["gcloud", "compute", "tpus", "queued-resources", "describe", self.name, "--format=json", *self._place]

    def delete(self) -> list[str]:
        """With its node (--force)."""
        return ["gcloud", "compute", "tpus", "queued-resources", "delete", self.name, "--force", *self._place]

    def copy(self, source: str, target: str) -> list[str]:
        """Copies a file to all workers; `target` is relative to the home folder."""
        destination = f"{self.name}:{target}"
        return ["gcloud", "compute", "tpus", "tpu-vm", "scp", source, destination, "--worker=all", *self._place]

    def ssh(self, command: str) -> list[str]:
        """Runs a shell command on all workers at once."""
        words = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", self.name, "--worker=all"]
        return [*words, f"--ssh-flag={SSH_FLAGS}", f"--command={command}", *self._place]


def show_file(address: str) -> list[str]:
    return ["gcloud", "storage", "cat", address, "--quiet"]


def list_folder(address: str) -> list[str]:
    return ["gcloud", "storage", "ls", f"{address}/", "--quiet"]


def run(command: Sequence[str]) -> str:
    """Runs a command to its end, which Ctrl-C in the terminal does not cut short; returns its standard output.

    Raises:
      CommandError: it failed.
    """
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, start_new_session=True
    )
    if done.returncode:
        raise CommandError(command, done.returncode, done.stderr)
    return done.stdout


def stream(
    command: Sequence[str], show: Callable[[str], None], show_error: Callable[[str], None], look: Callable[[], None]
) -> int:
    """Runs a command whose output is wanted as it comes.

    Args:
      command: what to run.
      show: called with every line of standard output, from a thread of its own.
      show_error: the same for standard error.
      look: called many times a second; when it raises, the command is ended.

    Returns:
      The exit code.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    threads = []
    for pipe, use in ((process.stdout, show), (process.stderr, show_error)):
        assert pipe is not None
        threads.append(threading.Thread(target=read_text, args=(pipe.fileno(), use), daemon=True))
        threads[-1].start()
    try:
        while process.poll() is None:
            look()
            time.sleep(POLL_SECONDS)
    finally:
        end(process)
        for thread in threads:
            thread.join(GRACE_SECONDS)
    return process.returncode


def read_text(descriptor: int, use: Callable[[str], None]) -> None:
    for_each_line(descriptor, lambda line: use(line.decode(errors="replace")))


def end(process: subprocess.Popen) -> None:
    """Ends a command and what it has started, if it has not ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
