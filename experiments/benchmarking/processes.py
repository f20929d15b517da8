"""The other end of a worker process: starts it, asks it, and sees to it that it ends."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from environment import make_variables
from machine import has_accelerator

from aux_rnn.machine import usable_cores
from aux_rnn.settings import ConfigError
from benchmarking.options import Options
from benchmarking.worker import VARIABLES

EXPERIMENTS = Path(__file__).parents[1]


class WorkerError(Exception):
    """A worker could not go on. The text says why, in one line."""


def worker_environment(program: str, options: Options, cache: str) -> dict[str, str]:
    """The environment of a worker: the one place where it is made.

    Args:
      program: 'ours' or 'peer'.
      options: what is measured.
      cache: an empty folder for compiled programs, where none is found that an earlier command compiled.
    """
    paths = [str(EXPERIMENTS), str(EXPERIMENTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    if program == "peer":
        environment.pop("THP_MEM_ALLOC_ENABLE", None)
        return {**environment, "THP_MEM_ALLOC_ENABLE": "1"} if options.peer_huge_pages else environment
    # As main.py starts, but for the cache.
    environment |= {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    size, cores = options.config.run.batch_size, len(usable_cores())
    return environment | make_variables(environment, size, options.cpu_devices, has_accelerator(), cores)


class Worker:
    """A worker process, which ends with the context.

    Args:
      name: what reports call it.
      program: 'ours' or 'peer'.
      options: what is measured.
      cache: see `worker_environment`.
    """

    def __init__(self, name: str, program: str, options: Options, cache: str) -> None:
        environment = worker_environment(program, options, cache)
        self.name = name
        self.variables = {variable: environment[variable] for variable in VARIABLES if variable in environment}
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (closed with the worker)
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarking.worker", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C in the terminal reaches this process only, which then ends the worker.
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: object) -> None:
        self._popen.kill()
        self._popen.communicate()
        self._log.close()

    def ask(self, what: str, **arguments: Any) -> Any:
        """Has the program do something and waits for its answer.

        Raises:
          ConfigError: a setting will not do.
          WorkerError: it failed, or the process is gone.
        """
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        try:
            self._popen.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
            self._popen.stdin.flush()
            line = self._popen.stdout.readline()
        except BrokenPipeError:
            line = ""
        reply = json.loads(line) if line else {"failed": self._describe_end()}
        if "refused" in reply:
            raise ConfigError(reply["refused"])
        if "failed" in reply:
            raise WorkerError(f"{self.name}: {reply['failed']}")
        return reply["answer"]

    def _describe_end(self) -> str:
        """How the process ended, and the last that it said."""
        code = self._popen.wait()
        how = f"with exit code {code}"
        if code < 0:
            memory = ", as the system does where memory runs out" if code == -signal.SIGKILL else ""
            how = f"by {signal.Signals(-code).name}{memory}"
        self._log.seek(0)
        last = next((line.strip() for line in reversed(self._log.readlines()) if line.strip()), "nothing")
        return f"the process ended {how}; the last it said: {last}"
