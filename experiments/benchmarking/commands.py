"""What each command measures: functions from the options to records, one after the other as they are complete."""

import dataclasses
import datetime
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from machine import code_version

from aux_rnn.config import INCIDENTAL, Config, SequenceSpec, to_flat
from aux_rnn.machine import describe_machine, usable_cores
from benchmarking.comparable import check_peer_data, describe_ignored
from benchmarking.options import Options
from benchmarking.processes import Worker

PAUSE = 0.5  # seconds

Record = dict[str, Any]
Say = Callable[[str], None]


def load(worker: Worker, config: Config, length: int, phase: str) -> dict[str, Any]:
    return worker.ask("load", settings=to_flat(config), length=length, phase=phase)


def make_record(options: Options, spec: dict[str, Any], values: Record) -> Record:
    """What was measured, and what every record says: settings, machine, code and date."""
    settings = {name: value for name, value in to_flat(options.config).items() if name not in INCIDENTAL}
    return {
        "benchmark": options.command,
        "spec": spec,
        "phase": options.phase,
        **values,
        "settings": settings,
        "machine": describe_machine(len(usable_cores())),
        "commit": code_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def describe_program(
    worker: Worker, loaded: dict[str, Any], prepared: dict[str, Any], seconds: Sequence[float]
) -> Record:
    """What is known of one program once its steps are measured."""
    return {
        "name": worker.name,
        "devices": loaded["devices"],
        "versions": loaded["versions"],
        "variables": worker.variables,
        "seconds": list(seconds),
        "seconds_per_step": statistics.median(seconds),
        **prepared,
        **worker.ask("finish"),
    }


def measure_alone(options: Options, length: int, cache: str, say: Say) -> Record:
    """Our step, between two measurements of a matrix product."""
    with Worker("aux_rnn", "ours", options, cache) as worker:
        loaded = load(worker, options.config, length, options.phase)
        say(f"{loaded['spec']['length']:,} steps a sequence, on {loaded['devices']}")
        prepared = worker.ask("prepare")
        say(f"compiled in {prepared['compile_seconds']:.1f} s")
        products = [worker.ask("measure_product", size=options.product_size)]
        seconds = [worker.ask("step") for _ in range(options.steps)]
        products.append(worker.ask("measure_product", size=options.product_size))
        program = describe_program(worker, loaded, prepared, seconds)
    speed = prepared["gflop"] / program["seconds_per_step"]
    measured = {
        "examples_per_second": options.config.run.batch_size / program["seconds_per_step"],
        "gflop_per_second": speed,
        "product_size": options.product_size,
        "product_gflop_per_second": products,
        "product_share": speed / statistics.mean(products),
    }
    return make_record(options, loaded["spec"], {**program, **measured})


def measure_step(options: Options, cache: str, say: Say) -> Iterator[Record]:
    yield measure_alone(options, options.length, cache, say)


def measure_lengths(options: Options, cache: str, say: Say) -> Iterator[Record]:
    """One process after the other, so that none has another's memory in its peak."""
    for length in options.lengths:
        yield measure_alone(options, length, cache, say)


def take_turns(workers: Sequence[Worker], pairs: int, say: Say) -> list[list[float]]:
    """The seconds of each worker's steps, in turns, so that both meet the same machine; who begins changes, too.

    A turn is a pause, as the other one's threads may spin for a while when they have nothing to do; a step that is not
    counted, as in training no step finds caches and pages gone cold; and one that is.
    """
    seconds: list[list[float]] = [[] for _ in workers]
    for pair in range(pairs):
        for k in (0, 1) if pair % 2 == 0 else (1, 0):
            time.sleep(PAUSE)
            workers[k].ask("step")
            seconds[k].append(workers[k].ask("step"))
        say(
            f"pair {pair + 1} of {pairs}: "
            + ", ".join(f"{w.name} {s[-1]:.4g} s" for w, s in zip(workers, seconds, strict=True))
        )
    return seconds


def compare(options: Options, workers: Sequence[Worker], loaded: Sequence[dict[str, Any]], say: Say) -> Record:
    """The record of two programs; a ratio is the second one's seconds over the first one's."""
    prepared = []
    for worker in workers:
        prepared.append(worker.ask("prepare"))
        say(f"{worker.name} is ready")
    seconds = take_turns(workers, options.pairs, say)
    measured = zip(workers, loaded, prepared, seconds, strict=True)
    ratios = [other / own for own, other in zip(*seconds, strict=True)]
    return {
        "programs": [describe_program(*parts) for parts in measured],
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }


def measure_peer(options: Options, cache: str, say: Say) -> Iterator[Record]:
    """Our step and PyTorch's."""
    with ExitStack() as stack:
        ours = stack.enter_context(Worker("aux_rnn", "ours", options, cache))
        loaded = load(ours, options.config, options.length, options.phase)
        check_peer_data(options.config, SequenceSpec(**loaded["spec"]), loaded["platform"])
        peer = stack.enter_context(Worker("PyTorch", "peer", options, cache))
        same = {name: loaded[name] for name in ("spec", "platform")}
        other = peer.ask("load", settings=to_flat(options.config), **same)
        values = compare(options, (ours, peer), (loaded, other), say)
        values |= {"peer_huge_pages": options.peer_huge_pages, "notes": describe_ignored(options.config)}
        yield make_record(options, loaded["spec"], values)


def measure_linen(options: Options, cache: str, say: Say) -> Iterator[Record]:
    """Our step as it is, and with the recurrence left to `nn.scan` and automatic differentiation."""
    scan = dataclasses.replace(options.config.model, recurrence="scan")
    configs = {"aux_rnn": options.config, "nn.scan": dataclasses.replace(options.config, model=scan)}
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, "ours", options, cache)) for name in configs]
        loaded = [
            load(worker, config, options.length, options.phase)
            for worker, config in zip(workers, configs.values(), strict=True)
        ]
        values = compare(options, workers, loaded, say)
        yield make_record(options, loaded[0]["spec"], {**values, "notes": []})


MEASUREMENTS: dict[str, Callable[[Options, str, Say], Iterator[Record]]] = {
    "step": measure_step,
    "peer": measure_peer,
    "lengths": measure_lengths,
    "linen": measure_linen,
}
