"""Formats records as a table."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from cli.tables import format_entry, format_table

Record = dict[str, Any]

# Headings, and the entries of a program's record: seconds, MiB, MiB, and the loss after the last step.
COLUMNS = {"compile": "compile_seconds", "scratch": "scratch_mib", "peak": "peak_memory_mib", "loss": "loss"}


def format_records(records: Sequence[Record]) -> str:
    """Returns the table of one command's records, and the machine and versions they were measured with."""
    rows = [format_program(record, program) for record in records for program in record.get("programs", [record])]
    notes = [format_entry(*note) for note in list_notes(records[0])]
    return "\n".join([format_table(pd.DataFrame(rows)), "", *notes])


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


def list_notes(record: Record) -> Iterator[tuple[str, str]]:
    settings, machine = record["settings"], record["machine"]
    yield "settings", f"{settings['dataset']}, batch {settings['batch_size']}, auxiliary {settings['auxiliary']}"
    yield "columns", "compile in seconds; scratch and peak memory in MiB"
    if "ratios" in record:
        own, other = record["programs"]
        spread = f"{record['ratio']:.2f} ({min(record['ratios']):.2f} to {max(record['ratios']):.2f})"
        yield "ratio", f"{other['name']} takes {spread} times the seconds of {own['name']}"
    else:
        size, (before, after) = record["product_size"], record["product_gflop_per_second"]
        speeds = f"{before:.4g} GFLOP/s before the steps, {after:.4g} after"
        yield "product", f"share of the speed of a {size:,} x {size:,} matrix product ({speeds})"
    for program in record.get("programs", [record]):
        parts = [program["devices"], *(f"{name} {version}" for name, version in program["versions"].items())]
        parts += [f"{name}={value}" for name, value in program["variables"].items()] + program.get("notes", [])
        yield program["name"], ", ".join(parts)
    cpu = ", ".join([machine["cpu"], *machine["vector_extensions"]])
    yield "machine", f"{cpu}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}"
    yield "code", f"{record['commit']}, {record['date']}"
