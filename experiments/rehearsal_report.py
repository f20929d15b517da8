"""What `--mode=dry_run` prints: a flag file of the settings, with all else in its comments."""

import math
from collections.abc import Iterator, Mapping

from data_report import format_row
from rehearsal import Rehearsal, Timing

from aux_rnn.config import Config, to_flat
from aux_rnn.progress import format_duration
from aux_rnn.settings import format_value

PROGRAMS = {"pretrain": "a step of pretraining", "train": "a step of training", "evaluate": "a batch of evaluation"}
MARGIN = "# "


def format_rehearsal(found: Rehearsal, workdir: str) -> str:
    """At most 80 columns, apart from settings and a folder with longer values."""
    parts = (
        [
            "A run that was not begun: nothing was trained or written.",
            "These are its settings, and this is a flag file.",
        ],
        format_modules(found.shapes),
        format_facts(found, workdir),
        format_timings(found),
    )
    opening, *rest = ("\n".join(f"{MARGIN}{line}".rstrip() for line in lines) for lines in parts)
    return "\n\n".join([opening, "\n".join(format_flags(found.config)), *rest])


def format_flags(config: Config) -> list[str]:
    """Every setting as a line of a flag file."""
    return [f"--{name}={format_value(value)}" for name, value in to_flat(config).items()]


def format_modules(shapes: Mapping[str, list[int]]) -> list[str]:
    """A line for every module and every array in it."""
    lines = [f"{'module':<44}{'shape':>18}{'parameters':>14}"]
    for depth, name, shape, count in walk(shapes):
        sizes = " x ".join(map(str, shape)) if shape is not None else ""
        lines.append(f"{'  ' * depth + name:<44}{sizes:>18}{count:>14,}")
    return [*lines, f"{'in all':<62}{sum(map(math.prod, shapes.values())):>14,}"]


def walk(shapes: Mapping[str, list[int]]) -> Iterator[tuple[int, str, list[int] | None, int]]:
    """Depth, name, shape (None of a module) and parameters of each module and array, every module before its parts."""
    opened: list[str] = []
    for path, shape in shapes.items():
        *modules, array = path.split("/")
        for depth, name in enumerate(modules):
            if opened[: depth + 1] != modules[: depth + 1]:
                inside = "/".join(modules[: depth + 1]) + "/"
                yield depth, name, None, sum(math.prod(s) for p, s in shapes.items() if p.startswith(inside))
                opened = modules[: depth + 1]
        yield len(modules), array, shape, math.prod(shape)


def format_facts(found: Rehearsal, workdir: str) -> list[str]:
    """What a run is made of and what it takes, apart from time."""
    spec, sizes, plan = found.spec, found.sizes, found.plan
    published = ", as published; yours may be a part" if found.may_be_less else ""
    examples = f"{sizes.train:,} train, {sizes.validation:,} validation, {sizes.test:,} test{published}"
    flops = ", ".join(f"{format_count(count)} {phase}" for phase, count in found.flops.items())
    together = f" in {found.processes} processes" if found.processes > 1 else ""
    rows = [
        ("sequences", f"{spec.describe()}, {spec.num_classes} classes"),
        ("examples", examples),
        ("steps", f"{plan.pretrain_steps:,} of pretraining, {plan.train_steps:,} of training"),
        ("FLOPs", f"{flops} (matrix products of a step, counted)"),
        ("memory", f"{format_bytes(found.state_bytes)} of parameters and optimizer on each device"),
        ("", f"{format_bytes(found.step_bytes)} more during a step, on all devices together (estimate)"),
        ("devices", f"{found.devices}{together}"),
        ("results", f"would go to {workdir}"),
    ]
    return [line for name, value in rows for line in format_row(name, value).split("\n")]


def format_timings(found: Rehearsal) -> list[str]:
    """What was measured on random data, and what follows for the whole run."""
    lines = ["Measured on random data of this shape:", ""]
    lines += [f"{'':<24}{'compiles':>10}{'takes':>12}{'times':>11}{'in all':>19}"]
    lines += [format_timing(PROGRAMS[name], timing) for name, timing in found.timings.items()]
    whole = f"{'the whole run':<24}{format_duration(found.seconds()):>52}"
    return [*lines, whole, "", "Reading the data, which may be fetched first, and checkpoints come on top."]


def format_timing(name: str, timing: Timing) -> str:
    took = f"{timing.seconds:.3g} s" if timing.seconds >= 1 else f"{1e3 * timing.seconds:.3g} ms"
    compiling = f"{timing.compile_seconds:.1f} s"
    return f"{name:<24}{compiling:>10}{took:>12}{timing.count:>11,}{format_duration(timing.total()):>19}"


def format_count(flops: float) -> str:
    """'1.2 GFLOP'."""
    exponent, prefix = next((e, p) for e, p in ((12, "T"), (9, "G"), (6, "M"), (3, "k"), (0, "")) if flops >= 10**e)
    return f"{flops / 10**exponent:.3g} {prefix}FLOP"


def format_bytes(size: int) -> str:
    """'1.2 GiB'."""
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"
