"""The measurements: functions from options to records, each yielded when it is complete."""

import dataclasses
import datetime
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from environment import DEVICE_COUNT, choose_devices
from machine import code_version

from aux_rnn.config.serialization import NOT_COMPARED, to_flat
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.system.machine import describe_machine, usable_cores
from benchmarking.options import Options
from benchmarking.worker import Worker

PAUSE = 0.5  # seconds
VECTOR_EXTENSIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "amx_tile": "AMX", "asimd": "NEON", "sve": "SVE"}
# Environment variables that affect speed.
VARIABLES = (
    "XLA_FLAGS",
    "JAX_NUM_CPU_DEVICES",
    "GLIBC_TUNABLES",
    "THP_MEM_ALLOC_ENABLE",
    "OMP_NUM_THREADS",
    "JAX_PLATFORMS",
)

Record = dict[str, Any]
Environment = dict[str, str]
Say = Callable[[str], None]


def vector_extensions(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Returns the vector extensions of the CPU: one model name may stand for several machines."""
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return [name for flag, name in VECTOR_EXTENSIONS.items() if flag in words]


def jax_environment(options: Options, cache: str) -> Environment:
    """Returns the environment in which main.py runs, except for an empty cache of compiled programs."""
    own = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    is_chosen = "JAX_NUM_CPU_DEVICES" in own or DEVICE_COUNT in own.get("XLA_FLAGS", "")
    if options.cpu_devices or not is_chosen:
        devices = options.cpu_devices or choose_devices(options.config.run.batch_size, len(usable_cores()))
        own["JAX_NUM_CPU_DEVICES"] = str(devices)
    return own


def peer_environment(options: Options) -> Environment:
    """Returns an environment without the allocator settings of this project."""
    own = {name: value for name, value in os.environ.items() if name not in ("GLIBC_TUNABLES", "THP_MEM_ALLOC_ENABLE")}
    return own | ({"THP_MEM_ALLOC_ENABLE": "1"} if options.peer_huge_pages else {})


def describe_program(worker: Worker, seconds: list[float]) -> Record:
    variables = {name: worker.environment[name] for name in VARIABLES if name in worker.environment}
    measured = {"seconds": seconds, "seconds_per_step": statistics.median(seconds)}
    return {"name": worker.name, "variables": variables, **measured, **worker.ask("finish")}


def make_record(options: Options, spec: SequenceSpec, values: Record) -> Record:
    return {
        "benchmark": options.command,
        "spec": dataclasses.asdict(spec),
        "phase": options.phase,
        **values,
        "settings": {name: value for name, value in to_flat(options.config).items() if name not in NOT_COMPARED},
        "machine": {**describe_machine(len(usable_cores())), "vector_extensions": vector_extensions()},
        "commit": code_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def measure_lengths(options: Options, cache: str, say: Say) -> Iterator[Record]:
    """Measures steps of one length or several, each in a new process and between two matrix products."""
    environment = jax_environment(options, cache)
    for length in [options.length] if options.command == "step" else sorted(set(options.lengths)):
        worker = Worker("aux_rnn", "jax_worker", environment)
        spec, _ = worker.ask("load", options.config, length, options.phase)
        say(f"compiling for {spec.length:,} steps per sequence")
        worker.ask("prepare")
        products = [worker.ask("measure_product", options.product_size)]
        seconds = [worker.ask("step") for _ in range(options.steps)]
        products.append(worker.ask("measure_product", options.product_size))
        program = describe_program(worker, seconds)
        speed = program["gflop"] / program["seconds_per_step"]
        measured = {
            "examples_per_second": options.config.run.batch_size / program["seconds_per_step"],
            "gflop_per_second": speed,
            "product_size": options.product_size,
            "product_gflop_per_second": products,
            "product_share": speed / statistics.mean(products),
        }
        yield make_record(options, spec, {**program, **measured})


def measure_pairs(options: Options, cache: str, say: Say) -> Iterator[Record]:
    """Compares the step with that of PyTorch or of `nn.scan`; a ratio is the other's time over the first one's."""
    config, environment = options.config, jax_environment(options, cache)
    own = Worker("aux_rnn", "jax_worker", environment)
    spec, platform = own.ask("load", config, options.length, options.phase)
    if options.command == "peer":
        other = Worker("PyTorch", "pytorch", peer_environment(options))
        other.ask("load", config, spec, platform)
    else:
        other = Worker("nn.scan", "jax_worker", environment)
        scan = dataclasses.replace(config, model=dataclasses.replace(config.model, recurrence="scan"))
        other.ask("load", scan, options.length, options.phase)
    for worker in (own, other):
        say(f"preparing {worker.name}")
        worker.ask("prepare")
    seconds = take_turns((own, other), options.pairs, say)
    ratios = [second / first for first, second in zip(*seconds, strict=True)]
    programs = [describe_program(worker, times) for worker, times in zip((own, other), seconds, strict=True)]
    yield make_record(options, spec, {"programs": programs, "ratios": ratios, "ratio": statistics.median(ratios)})


def take_turns(workers: Sequence[Worker], pairs: int, say: Say) -> list[list[float]]:
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
