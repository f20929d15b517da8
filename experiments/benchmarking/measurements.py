"""Measures training steps, each program in its own process; the parent process never starts JAX."""

import dataclasses
import datetime
import functools
import importlib
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest import mock

import numpy as np
from cli.environment import code_version

from aux_rnn.config.serialization import NOT_COMPARED, to_flat, with_settings
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Examples, evaluation_batches, sequence_spec
from aux_rnn.system.machine import describe_machine, usable_cores, vector_extensions

PAUSE = 0.5  # seconds
# Environment variables that affect speed.
VARIABLES = ("GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE", "OMP_NUM_THREADS", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")

Record = dict[str, Any]


class Worker:
    """Starts a process with the `Program` of a module, 'jax_worker' or 'pytorch'; messages and tables show its name."""

    def __init__(self, name: str, module: str = "jax_worker") -> None:
        self.name, self._module = name, module
        self.environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
        if module == "pytorch":  # its own way to huge pages instead of the one that launch.sh chooses for JAX
            self.environment.pop("GLIBC_TUNABLES", None)
            self.environment.setdefault("THP_MEM_ALLOC_ENABLE", "1")
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        with mock.patch.dict(os.environ, self.environment, clear=True):
            self._pool.submit(os.getpid)  # starts the process

    def ask(self, method: str, *arguments: Any) -> Any:
        """Calls a method of the program and returns its result. Raises BrokenProcessPool if the process has died."""
        return self._pool.submit(call, self._module, method, *arguments).result()

    def describe(self, seconds: list[float]) -> Record:
        """Returns the program's part of a record, with the times of its steps."""
        variables = {name: self.environment[name] for name in VARIABLES if name in self.environment}
        measured = {"seconds": seconds, "seconds_per_step": statistics.median(seconds)}
        return {"name": self.name, "variables": variables, **measured, **self.ask("describe")}


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


def measure(command: str, config: Config, length: int, count: int) -> Record:
    """Returns the record of `count` steps of each program of a command.

    The sequences have the given length, or that of the data set if it is 0. Ratios are times over ours. Raises
    ConfigError if a setting does not fit the sequences or the devices.
    """
    spec = sequence_spec(config.data)
    spec = dataclasses.replace(spec, length=length or spec.length)
    programs = {"aux_rnn": ("jax_worker", config)}
    if command == "peer":
        programs["PyTorch"] = "pytorch", config
    elif command == "scan":
        programs["nn.scan"] = "jax_worker", with_settings(config, recurrence="scan")
    batch, workers = make_batch(spec, config.run.batch_size), []
    try:
        for name, (module, settings) in programs.items():
            workers.append(Worker(name, module))
            workers[-1].ask("prepare", settings, spec, batch)
        seconds = interleave_steps(workers, count)
        measured = [worker.describe(own) for worker, own in zip(workers, seconds, strict=True)]
    finally:
        kill_workers()
    return {
        "benchmark": command,
        "spec": dataclasses.asdict(spec),
        "settings": {name: value for name, value in to_flat(config).items() if name not in NOT_COMPARED},
        "machine": {**describe_machine(len(usable_cores())), "vector_extensions": vector_extensions()},
        "commit": code_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "programs": measured,
        "ratios": [other / own for own, *others in zip(*seconds, strict=True) for other in others],
    }


def make_batch(spec: SequenceSpec, batch_size: int) -> dict[str, np.ndarray]:
    """Returns a random batch as `evaluation_batches` does: uint8 of any length L, and texts of lengths from L / 2."""
    random, length = np.random.default_rng(0), spec.length
    inputs = random.integers(1, min(spec.vocabulary_size or 256, 256), (batch_size, *spec.shape), np.uint8)
    lengths = None
    if spec.vocabulary_size:
        lengths = random.integers((length + 1) // 2, length + 1, batch_size, np.int32)
        inputs[np.arange(length) < length - lengths[:, None]] = 0
    examples = Examples(inputs, random.integers(0, spec.num_classes, batch_size, np.int32), lengths)
    return next(evaluation_batches(examples, batch_size))


def interleave_steps(workers: Sequence[Worker], count: int) -> list[list[float]]:
    """Returns the seconds of each worker's steps, run in turns so that all meet the same load of the machine.

    The order alternates. A turn is a pause, because idle threads of the other program may spin for a while, a step
    that is not counted, because caches and pages are cold, and a step that is.
    """
    seconds: dict[Worker, list[float]] = {worker: [] for worker in workers}
    for number in range(count):
        for worker in workers if number % 2 == 0 else reversed(workers):
            time.sleep(PAUSE)
            worker.ask("step")
            seconds[worker].append(worker.ask("step"))
        latest = ", ".join(f"{worker.name} {own[-1]:.4g} s" for worker, own in seconds.items())
        print(f"{number + 1} of {count}: {latest}", file=sys.stderr, flush=True)
    return list(seconds.values())
