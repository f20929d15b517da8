"""Reads the loops of a compiled program from its text, `jax.stages.Compiled.as_text()`.

The figures are static: the compiler's own estimate of cycles for a TPU, and for a GPU the number of kernels. They are
not times. For a TPU v5e even a small operation costs 800 cycles with its operands on the chip (VMEM) and up to 1,800
with operands in HBM, so the number of operations per iteration matters most.
"""

import dataclasses
import re
from collections.abc import Iterator

COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{.*\n((?:.*\n)*?)\}", re.MULTILINE)
OPERATION = re.compile(
    r" (fusion|custom-call|copy|dynamic-slice|dynamic-update-slice|convert|compare|dot|select|concatenate|transpose"
    r"|reduce)\("
)
ONGOING = "async_collective_fusion"  # continues an exchange that `async-collective-start` has begun elsewhere
COLLECTIVE = re.compile(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(-start)?\(")
CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)")
WHILE = re.compile(r"= \((.*?)\) while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)")
ON_CHIP = re.compile(r"S\([13]\)")  # memory spaces 1, the VMEM of a TPU, and 3, the CMEM that a v4 also has
FLOAT_ARRAY = re.compile(r"\b(?:f32|bf16)\[([\d,]+)\](\{[^}]*\})?")

Computations = dict[str, list[str]]  # the lines of each computation, by name


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop of a compiled program.

    Attributes:
      name: the module that it computes, followed by 'backward' in the backward pass.
      depth: number of loops around it.
      iterations, all_iterations: of one run of the loop, and of all runs in the program.
      operations, cycles: of one iteration, without inner loops; the cycles are an estimate, 0 on a GPU.
      in_hbm: shapes of the states and weights (vectors and matrices carried from one iteration to the next) outside of
        the memory on a TPU's chip.
      collectives: number of operations in the loop, with inner loops, that exchange data with other devices.
    """

    name: str
    depth: int
    iterations: int
    all_iterations: int
    operations: int
    cycles: int
    in_hbm: tuple[str, ...]
    collectives: int


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled program: its loops, each followed by those in it, and sums over one run with all iterations.

    Kernels are calls of Pallas kernels, which run loops of their own and have no estimate.
    """

    loops: tuple[Loop, ...]
    operations: int
    cycles: int
    kernels: int


def read_program(text: str) -> Program:
    """Returns the loops of a compiled program and the sums over all of its operations."""
    found = COMPUTATION.findall(text)
    computations = {name: lines.splitlines() for _, name, lines in found}
    entry = next(name for is_entry, name, _ in found if is_entry)
    loops = tuple(find_loops(computations, entry))
    operations, cycles = count_operations(computations, entry)
    operations += sum(loop.all_iterations * loop.operations for loop in loops)
    cycles += sum(loop.all_iterations * loop.cycles for loop in loops)
    return Program(loops, operations, cycles, kernels=text.count('custom_call_target="tpu_custom_call"'))


def find_loops(computations: Computations, name: str, depth: int = 0, runs: int = 1) -> Iterator[Loop]:
    """Yields the loops of a computation that runs `runs` times, each followed by those in it.

    A loop whose number of iterations is an argument of the program counts as one iteration.
    """
    for line in own_lines(computations, name):
        if match := WHILE.search(line):
            carried, condition, body = match.groups()
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            constants = re.findall(r"constant\((\d+)\)", "".join(computations[condition]))
            iterations = int(known.group(1) if known else [1, *constants][-1])
            arrays = FLOAT_ARRAY.findall(carried)
            in_hbm = tuple(shape for shape, layout in arrays if shape.count(",") < 2 and not ON_CHIP.search(layout))
            counts = count_operations(computations, body)
            collectives = count_collectives(computations, body)
            yield Loop(name_loop(line), depth, iterations, runs * iterations, *counts, in_hbm, collectives)
            yield from find_loops(computations, body, depth + 1, runs * iterations)


def own_lines(computations: Computations, name: str) -> Iterator[str]:
    """Yields the lines of a computation, and of those that it calls once."""
    for line in computations[name]:
        if " call(" in line:
            for called in CALLED.findall(line):
                yield from own_lines(computations, called)
        else:
            yield line


def count_operations(computations: Computations, name: str) -> tuple[int, int]:
    """Returns the number of a computation's own operations and the sum of their estimated cycles."""
    lines = list(own_lines(computations, name))
    cycles = sum(int(count) for line in lines for count in re.findall(r'"estimated_cycles":"(\d+)"', line))
    return sum(bool(OPERATION.search(line)) for line in lines), cycles


def count_collectives(computations: Computations, name: str) -> int:
    """Returns the number of collective operations in a computation and in all that it refers to."""
    seen: set[str] = set()
    pending, count = [name], 0
    while pending:
        current = pending.pop()
        if current not in seen and not current.startswith(ONGOING):
            seen.add(current)
            for line in computations.get(current, ()):
                count += bool(COLLECTIVE.search(line))
                pending += CALLED.findall(line)
    return count


def name_loop(line: str) -> str:
    """Returns the name of the module in which a loop was traced, and its direction."""
    found = re.search(r'op_name="([^"]*)"', line)
    traced = found.group(1) if found else ""
    parts = [part for part in traced.split("/") if "(" not in part and part not in ("while", "body", "closed_call")]
    name = "/".join(part.rpartition(".")[2] for part in parts if part != "shard_map")
    return (name or "loop") + " backward" * ("transpose(" in traced)
