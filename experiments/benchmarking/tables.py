"""Records as tables of 80 columns or fewer."""

import statistics
import textwrap
from collections.abc import Sequence
from typing import Any

Record = dict[str, Any]

WIDTH = 80
NOTHING = "-"


def format_records(records: Sequence[Record]) -> str:
    """The table of a command's records, with what it was measured on."""
    first = records[0]
    body = {"step": format_step, "lengths": format_lengths}.get(first["benchmark"], format_comparison)(records)
    return "\n".join([format_title(records), "", *body, "", *format_origin(first)])


def format_title(records: Sequence[Record]) -> str:
    spec, settings = records[0]["spec"], records[0]["settings"]
    lengths = dict.fromkeys(f"{record['spec']['length']:,}" for record in (records[0], records[-1]))
    shape = " to ".join(lengths) + (" tokens" if spec["vocabulary_size"] else f" x {spec['channels']}")
    what = f"{settings['encoder']}, auxiliary {settings['auxiliary']}, {records[0]['phase']}"
    return f"{settings['dataset']}, {shape}, batch {settings['batch_size']}, {what}"


def format_step(records: Sequence[Record]) -> list[str]:
    record = records[0]
    before, after = record["product_gflop_per_second"]
    return format_pairs(
        {
            "seconds a step": f"{format_spread(record['seconds'])}, {len(record['seconds'])} steps",
            "examples a second": f"{record['examples_per_second']:.4g}",
            "GFLOP a step": f"{record['gflop']:.4g}",
            "GFLOP/s": f"{record['gflop_per_second']:.4g}, {100 * record['product_share']:.0f} % of a matrix product's",
            f"product of {record['product_size']:,}^3": f"{before:.4g} GFLOP/s before, {after:.4g} after",
            "trace, s": f"{record['trace_seconds']:.3g}",
            "compile, s": f"{record['compile_seconds']:.3g}",
            "scratch memory, MiB": format_mib(record["scratch_mib"]),
            "peak memory, MiB": format_mib(record["peak_memory_mib"]),
        }
    )


def format_lengths(records: Sequence[Record]) -> list[str]:
    header = ["length", "s a step", "examples/s", "scratch MiB", "peak MiB", "compile s"]
    rows = [
        [
            f"{record['spec']['length']:,}",
            f"{record['seconds_per_step']:.4g}",
            f"{record['examples_per_second']:.4g}",
            format_mib(record["scratch_mib"]),
            format_mib(record["peak_memory_mib"]),
            f"{record['compile_seconds']:.3g}",
        ]
        for record in records
    ]
    lines = format_columns([header, *rows])
    if len(records) < 2:
        return lines
    first, last = records[0], records[-1]
    lengths = [record["spec"]["length"] for record in (first, last)]
    span = f"from {lengths[0]:,} to {lengths[1]:,} steps"
    lines.append("")
    if first["scratch_mib"] and last["scratch_mib"]:
        growth = 100 * (last["scratch_mib"] / first["scratch_mib"] - 1)
        lines.append(f"scratch memory grows by {growth:.1f} % {span}")
    more = 1000 * (last["seconds_per_step"] - first["seconds_per_step"]) / (lengths[1] - lengths[0])
    return [*lines, f"{more:.4g} s for every 1,000 steps more, {span}"]


def format_comparison(records: Sequence[Record]) -> list[str]:
    record = records[0]
    programs = record["programs"]
    names = [program["name"] for program in programs]
    rows = [
        [str(number), *(f"{s:.4g}" for s in pair), f"{ratio:.2f}"]
        for number, (*pair, ratio) in enumerate(
            zip(*(program["seconds"] for program in programs), record["ratios"], strict=True), start=1
        )
    ]
    rows.append(["median", *(f"{program['seconds_per_step']:.4g}" for program in programs), f"{record['ratio']:.2f}"])
    for label, name in (("peak MiB", "peak_memory_mib"), ("scratch MiB", "scratch_mib")):
        rows.append([label, *(format_mib(program.get(name)) for program in programs), ""])
    rows.append(["loss", *(f"{program['loss']:.4g}" for program in programs), ""])
    ratios = f"{names[1]} takes {format_spread(record['ratios'], '.2f')} times the seconds of {names[0]}"
    lines = [*format_columns([["pair", *(f"{name}, s" for name in names), "ratio"], *rows]), "", ratios]
    if "peer_huge_pages" in record:
        how = "in huge pages (THP_MEM_ALLOC_ENABLE=1)" if record["peer_huge_pages"] else "as installed"
        lines.append(f"PyTorch: takes its tensors' memory {how}")
    return [*lines, *(part for note in record["notes"] for part in textwrap.wrap(note, WIDTH))]


def format_origin(record: Record) -> list[str]:
    """What a record was measured on, with what and when."""
    machine = record["machine"]
    described = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['os']}"
    lines = {}
    for program in record.get("programs", [record]):
        versions = ", ".join(f"{name} {version}" for name, version in program["versions"].items())
        lines[program["name"]] = f"{program['devices']}; {versions}"
        if program["variables"]:
            lines[program["name"]] += "; " + " ".join(f"{k}={v}" for k, v in program["variables"].items())
    return format_pairs({**lines, "machine": described, "code": f"{record['commit']}, {record['date']}"})


def format_pairs(pairs: dict[str, str]) -> list[str]:
    """Names and what belongs to them, the latter in lines below each other."""
    indent = max(map(len, pairs)) + 2
    lines = []
    for name, text in pairs.items():
        parts = textwrap.wrap(text, WIDTH - indent) or [""]
        lines += [
            f"{label:<{indent}}{part}" for label, part in zip([name, *[""] * (len(parts) - 1)], parts, strict=True)
        ]
    return lines


def format_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def format_spread(values: Sequence[float], pattern: str = ".4g") -> str:
    """'3.01 (2.98 to 3.12)': the median and the ends."""
    return f"{statistics.median(values):{pattern}} ({min(values):{pattern}} to {max(values):{pattern}})"


def format_mib(mib: float | None) -> str:
    return NOTHING if mib is None else f"{mib:,.0f}" if mib >= 100 else f"{mib:.3g}"
