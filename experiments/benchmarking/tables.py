"""Records as tables of at most 80 columns."""

import textwrap
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

WIDTH = 80


def format_records(records: Sequence[Record]) -> str:
    """Returns the table of one command's records, and the machine and versions they were measured with."""
    first = records[0]
    spec, settings, machine = first["spec"], first["settings"], first["machine"]
    lengths = " to ".join(dict.fromkeys(f"{record['spec']['length']:,}" for record in (first, records[-1])))
    shape = lengths + (" tokens" if spec["vocabulary_size"] else f" x {spec['channels']}")
    model = f"{settings['encoder']}, auxiliary {settings['auxiliary']}, {first['phase']}"
    lines = [f"{settings['dataset']}, {shape}, batch {settings['batch_size']}, {model}", ""]
    lines += [*(format_pairs(first) if "programs" in first else format_steps(records)), ""]
    for program in first.get("programs", [first]):
        parts = [program["devices"], *(f"{name} {version}" for name, version in program["versions"].items())]
        parts += [f"{name}={value}" for name, value in program["variables"].items()]
        lines.append(f"{program['name']}: {', '.join(parts)}")
    cpu = f"{machine['cpu']} ({', '.join(machine['vector_extensions'])})"
    lines.append(f"machine: {cpu}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}")
    lines.append(f"code: {first['commit']}, {first['date']}")
    return "\n".join(
        line if len(line) <= WIDTH else textwrap.fill(line, WIDTH, subsequent_indent="  ") for line in lines
    )


def format_steps(records: Sequence[Record]) -> list[str]:
    rows = [["length", "s/step", "min to max", "ex/s", "product", "scratch MiB", "peak MiB", "compile"]]
    for record in records:
        seconds = record["seconds"]
        row = [f"{record['spec']['length']:,}", f"{record['seconds_per_step']:.4g}"]
        row += [f"{min(seconds):.3g} to {max(seconds):.3g}", f"{record['examples_per_second']:.4g}"]
        row += [f"{100 * record['product_share']:.0f} %", format_mib(record["scratch_mib"])]
        rows.append([*row, format_mib(record["peak_memory_mib"]), f"{record['compile_seconds']:.3g} s"])
    size, (before, after) = records[0]["product_size"], records[0]["product_gflop_per_second"]
    product = f"product: share of the speed of a {size:,} x {size:,} matrix product"
    return [*format_columns(rows), "", f"{product} ({before:.4g} GFLOP/s before the steps, {after:.4g} after)"]


def format_pairs(record: Record) -> list[str]:
    programs, ratios = record["programs"], record["ratios"]
    names = [program["name"] for program in programs]
    rows = [["pair", *(f"{name}, s" for name in names), "ratio"]]
    for pair, (own, other, ratio) in enumerate(zip(*(p["seconds"] for p in programs), ratios, strict=True), start=1):
        rows.append([str(pair), f"{own:.4g}", f"{other:.4g}", f"{ratio:.2f}"])
    rows.append(["median", *(f"{program['seconds_per_step']:.4g}" for program in programs), f"{record['ratio']:.2f}"])
    for label, name in (("peak MiB", "peak_memory_mib"), ("scratch MiB", "scratch_mib")):
        rows.append([label, *(format_mib(program.get(name)) for program in programs), ""])
    rows.append(["loss", *(f"{program['loss']:.4g}" for program in programs), ""])
    spread = f"{record['ratio']:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    notes = [note for program in programs for note in program.get("notes", [])]
    return [*format_columns(rows), "", f"{names[1]} takes {spread} times the seconds of {names[0]}", *notes]


def format_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def format_mib(mib: float | None) -> str:
    return "-" if mib is None else f"{mib:,.0f}" if mib >= 100 else f"{mib:.3g}"
