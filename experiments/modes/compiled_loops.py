"""Reads the loops of a compiled program from its text, `jax.stages.Compiled.as_text()`.

The figures are static: the compiler's own estimate of cycles for a TPU, and for a GPU the number of kernels. They are
not times. For a TPU v5e even a small operation costs 800 cycles with its operands on the chip (VMEM) and up to 1,800
with operands in HBM, so the number of operations per iteration matters most.
"""

import dataclasses
import re
from collections.abc import Iterator

HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{")
OPERATION = re.compile(
    r" (fusion|custom-call|copy|dynamic-slice|dynamic-update-slice|convert|compare|dot|select|concatenate|transpose"
    r"|reduce)\("
)
ONGOING = "async_collective_fusion"  # goes on with an exchange that `async-collective-start` has begun elsewhere
COLLECTIVE = re.compile(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\(")
CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
WHILE = re.compile(r"= \((.*?)\) while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
ON_CHIP = re.compile(r"S\([13]\)")  # memory spaces 1, the VMEM of a TPU, and 3, the CMEM that a v4 also has
FLOAT_ARRAY = re.compile(r"\b(?:f32|bf16)\[([\d,]+)\](\{[^}]*\})?")


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of a compiled program.

    Attributes:
      name: the module that it computes, followed by 'backward' in the backward pass.
      depth: number of loops around it.
      iterations: of one run of the loop.
      operations, cycles: of one iteration, without inner loops; the cycles are an estimate, 0 on a GPU.
      in_hbm: shapes of the states and weights (vectors and matrices carried from one iteration to the next) outside of
        the memory on a TPU's chip.
      collectives: number of operations in the loop, with inner loops, that exchange data with other devices.
    """

    name: str
    depth: int
    iterations: int
    operations: int
    cycles: int
    in_hbm: tuple[str, ...]
    collectives: int


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program: its loops, each followed by those in it, and sums over one run with all iterations.

    The cycles are an estimate, 0 on a GPU; collectives are operations that exchange data with other devices, and
    kernels are Pallas kernels outside of the loops, which run loops of their own and have no estimate.
    """

    loops: tuple[Loop, ...]
    operations: int
    cycles: int
    collectives: int
    kernels: int


def read_program(text: str) -> Program:
    """Returns the loops of a compiled program and the sums over all of its operations."""
    entry, computations = split_computations(text)
    operations, cycles = count_operations(computations, entry)
    loops: list[Loop] = []

    def add_loops(body: str, depth: int, times: int) -> None:
        nonlocal operations, cycles
        for loop, inner in find_loops(computations, body, depth):
            loops.append(loop)
            operations += times * loop.iterations * loop.operations
            cycles += times * loop.iterations * loop.cycles
            add_loops(inner, depth + 1, times * loop.iterations)

    add_loops(entry, 0, 1)
    kernels = sum('custom_call_target="tpu_custom_call"' in line for line in own_lines(computations, entry))
    return Program(tuple(loops), operations, cycles, count_collectives(computations, entry), kernels)


def split_computations(text: str) -> tuple[str, dict[str, list[str]]]:
    """Returns the name of the entry computation, and the lines of all computations by name."""
    entry, name = "", ""
    computations: dict[str, list[str]] = {}
    for line in text.splitlines():
        if header := HEADER.match(line):
            name = header.group(2)
            entry = name if header.group(1) else entry
            computations[name] = []
        elif line.startswith("}"):
            name = ""
        elif name:
            computations[name].append(line)
    return entry, computations


def own_lines(computations: dict[str, list[str]], name: str) -> Iterator[str]:
    """Yields the lines of a computation, and of those that it calls once."""
    for line in computations[name]:
        if " call(" in line:
            for called in CALLED.findall(line):
                yield from own_lines(computations, called)
        else:
            yield line


def count_operations(computations: dict[str, list[str]], name: str) -> tuple[int, int]:
    """Returns the number of a computation's own operations and the sum of their estimated cycles."""
    lines = list(own_lines(computations, name))
    cycles = sum(int(count) for line in lines for count in re.findall(r'"estimated_cycles":"(\d+)"', line))
    return sum(bool(OPERATION.search(line)) for line in lines), cycles


def count_collectives(computations: dict[str, list[str]], name: str) -> int:
    """Returns the number of collective operations in a computation and in all that it refers to."""
    seen, pending, count = set(), [name], 0
    while pending:
        current = pending.pop()
        if current not in seen and not current.startswith(ONGOING):
            seen.add(current)
            for line in computations.get(current, ()):
                count += bool(COLLECTIVE.search(line))
                pending += CALLED.findall(line)
    return count


def find_loops(computations: dict[str, list[str]], body: str, depth: int) -> Iterator[tuple[Loop, str]]:
    """Yields each loop directly in a computation, with the name of the loop's body."""
    for line in own_lines(computations, body):
        if match := WHILE.search(line):
            carried, condition, inner = match.groups()
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            constants = re.findall(r"constant\((\d+)\)", "".join(computations[condition]))
            iterations = int(known.group(1) if known else constants[-1])
            arrays = FLOAT_ARRAY.findall(carried)
            in_hbm = tuple(shape for shape, layout in arrays if shape.count(",") < 2 and not ON_CHIP.search(layout))
            counts = count_operations(computations, inner)
            collectives = count_collectives(computations, inner)
            yield Loop(name_loop(line), depth, iterations, *counts, in_hbm, collectives), inner


def name_loop(line: str) -> str:
    """Returns the name of the module in which a loop was traced, and its direction."""
    found = re.search(r'op_name="([^"]*)"', line)
    traced = found.group(1) if found else ""
    parts = [part for part in traced.split("/") if "(" not in part and part not in ("while", "body", "closed_call")]
    name = "/".join(part.rpartition(".")[2] for part in parts if part != "shard_map")
    return (name or "loop") + " backward" * ("transpose(" in traced)
