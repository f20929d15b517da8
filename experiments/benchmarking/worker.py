"""A process of its own for each program that is measured."""

import functools
import importlib
import multiprocessing
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any
from unittest import mock

from aux_rnn.errors import OneLineError


class WorkerError(OneLineError):
    """The process of a program has died. The text says so in one line."""


class Worker:
    """Starts a process with the `Program` of a module.

    Args:
      name: of the program, in messages and tables.
      module: 'jax_worker' or 'pytorch'.
      environment: all environment variables of the process.
    """

    def __init__(self, name: str, module: str, environment: Mapping[str, str]) -> None:
        self.name, self.environment, self._module = name, environment, module
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with mock.patch.dict(os.environ, environment, clear=True):
            self._pool.submit(os.getpid)  # starts the process

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the program and returns its result. Raises WorkerError, and what the method raises."""
        try:
            return self._pool.submit(call, self._module, method, *arguments).result()
        except BrokenProcessPool as error:
            raise WorkerError(f"{self.name}: its process died; the system kills it if memory runs out") from error


@functools.cache
def make_program(module: str) -> Any:
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the parent's standard output is for results only
    return importlib.import_module(f"benchmarking.{module}").Program()


def call(module: str, method: str, *arguments: Any) -> Any:
    return getattr(make_program(module), method)(*arguments)


def kill_workers() -> None:
    for process in multiprocessing.active_children():
        process.kill()
        process.join()
