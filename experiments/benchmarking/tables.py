"""Formats records as a table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from cli.tables import format_table

Record = dict[str, Any]

COLUMNS = {"compile s": "compile_seconds", "scratch MiB": "scratch_mib", "peak MiB": "peak_memory_mib", "loss": "loss"}


def format_records(records: Sequence[Record]) -> str:
    """Returns the table of one command's records, and the machine and versions they were measured with."""
    first = records[0]
    settings, machine = first["settings"], first["machine"]
    rows = [format_program(record, program) for record in records for program in record.get("programs", [record])]
    lines = [format_table(pd.DataFrame(rows)), ""]
    lines.append(f"{settings['dataset']}, batch {settings['batch_size']}, auxiliary {settings['auxiliary']}")
    if "ratios" in first:
        own, other = first["programs"]
        spread = f"{first['ratio']:.2f} ({min(first['ratios']):.2f} to {max(first['ratios']):.2f})"
        lines.append(f"{other['name']} takes {spread} times the seconds of {own['name']}")
    else:
        size, (before, after) = first["product_size"], first["product_gflop_per_second"]
        product = f"product: share of the speed of a {size:,} x {size:,} matrix product"
        lines.append(f"{product} ({before:.4g} GFLOP/s before the steps, {after:.4g} after)")
    for program in first.get("programs", [first]):
        parts = [program["devices"], *(f"{name} {version}" for name, version in program["versions"].items())]
        parts += [f"{name}={value}" for name, value in program["variables"].items()] + program.get("notes", [])
        lines.append(f"{program['name']}: {', '.join(parts)}")
    cpu = ", ".join([machine["cpu"], *machine["vector_extensions"]])
    lines.append(f"machine: {cpu}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}")
    return "\n".join([*lines, f"code: {first['commit']}, {first['date']}"])


def format_program(record: Record, program: Record) -> dict[str, str]:
    """Returns one row of the table, by column."""
    seconds = program["seconds"]
    return {
        "program": program["name"],
        "length": f"{record['spec']['length']:,}",
        "s/step": f"{program['seconds_per_step']:.4g}",
        "min to max": f"{min(seconds):.3g} to {max(seconds):.3g}",
        **({"product": f"{100 * program['product_share']:.0f} %"} if "product_share" in program else {}),
        **{name: format_number(program.get(key)) for name, key in COLUMNS.items()},
    }


def format_number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
