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

from cli.environment import code_version

from aux_rnn.config.serialization import NOT_COMPARED, to_flat
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.system.machine import describe_machine, usable_cores, vector_extensions

PAUSE = 0.5  # seconds
PRODUCT_SIZE = 2_048
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
        """Returns the part of a record that describes the program and the times of its steps."""
        variables = {name: self.environment[name] for name in VARIABLES if name in self.environment}
        measured = {"seconds": seconds, "seconds_per_step": statistics.median(seconds)}
        return {"name": self.name, "variables": variables, **measured, **self.ask("finish")}


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


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measure_alone(config: Config, length: int, steps: int) -> Record:
    """Returns the record of training steps, which run between two matrix products."""
    worker = Worker("aux_rnn")
    spec, _ = worker.ask("load", config, length)
    say(f"compiling for {spec.length:,} steps per sequence")
    worker.ask("prepare")
    products = [worker.ask("measure_product", PRODUCT_SIZE)]
    seconds = [worker.ask("step") for _ in range(steps)]
    products.append(worker.ask("measure_product", PRODUCT_SIZE))
    program = worker.describe(seconds)
    speed = program["gflop"] / program["seconds_per_step"]
    measured = {
        "examples_per_second": config.run.batch_size / program["seconds_per_step"],
        "gflop_per_second": speed,
        "product_size": PRODUCT_SIZE,
        "product_gflop_per_second": products,
        "product_share": speed / statistics.mean(products),
    }
    return describe_measurement(config, spec) | program | measured


def measure_pairs(command: str, config: Config, length: int, pairs: int) -> Record:
    """Returns the record of a comparison with PyTorch ('peer') or `nn.scan`; ratios are the other's time over ours."""
    own = Worker("aux_rnn")
    spec, platform = own.ask("load", config, length)
    if command == "peer":
        other = Worker("PyTorch", "pytorch")
        other.ask("load", config, spec, platform)
    else:
        other = Worker("nn.scan")
        scan = dataclasses.replace(config, model=dataclasses.replace(config.model, recurrence="scan"))
        other.ask("load", scan, length)
    for worker in (own, other):
        say(f"preparing {worker.name}")
        worker.ask("prepare")
    seconds = take_turns((own, other), pairs)
    ratios = [second / first for first, second in zip(*seconds, strict=True)]
    programs = [worker.describe(times) for worker, times in zip((own, other), seconds, strict=True)]
    measured = {"programs": programs, "ratios": ratios, "ratio": statistics.median(ratios)}
    return describe_measurement(config, spec) | measured


def take_turns(workers: Sequence[Worker], pairs: int) -> list[list[float]]:
    """Returns the seconds of each worker's steps, run pair by pair so that both meet the same load of the machine.

    The order alternates. A turn is a pause, because idle threads of the other program may spin for a while, a step
    that is not counted, because caches and pages are cold, and a step that is.
    """
    seconds: list[list[float]] = [[] for _ in workers]
    for pair in range(pairs):
        for k in (0, 1) if pair % 2 == 0 else (1, 0):
            time.sleep(PAUSE)
            workers[k].ask("step")
            seconds[k].append(workers[k].ask("step"))
        latest = ", ".join(f"{worker.name} {own[-1]:.4g} s" for worker, own in zip(workers, seconds, strict=True))
        say(f"pair {pair + 1} of {pairs}: {latest}")
    return seconds


def describe_measurement(config: Config, spec: SequenceSpec) -> Record:
    """Returns the part of a record that does not depend on the programs."""
    return {
        "spec": dataclasses.asdict(spec),
        "settings": {name: value for name, value in to_flat(config).items() if name not in NOT_COMPARED},
        "machine": {**describe_machine(len(usable_cores())), "vector_extensions": vector_extensions()},
        "commit": code_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
