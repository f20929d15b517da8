"""Describes the machine of a measurement, without the name of a computer, a user or a folder."""

import os
import platform
from pathlib import Path
from typing import Any

VECTOR_EXTENSIONS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "asimd": "NEON",
    "bf16": "NEON-BF16",
    "sve": "SVE",
}


def usable_cores() -> list[int]:
    """Returns the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def describe_machine(cores: int) -> dict[str, Any]:
    """Returns the processor, the number of cores that a run has, the memory in GiB and the operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return dict(cpu=processor_name(), cores=cores, memory_gib=round(memory), os=system_name())


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def vector_extensions(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Returns the vector extensions of the CPU: one model name may stand for several machines."""
    words = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    return [name for flag, name in VECTOR_EXTENSIONS.items() if flag in words]


def warn_of_precision(precision: str, platform: str) -> str:
    """Returns a line for a precision that is slower than float32 on the CPU; an empty one otherwise."""
    if precision != "bfloat16" or platform != "cpu":
        return ""
    extensions = vector_extensions()
    if not extensions or any("BF16" in name for name in extensions):
        return ""
    return f"precision=bfloat16 is slower than float32 on this CPU, which has only {', '.join(extensions)}"


def system_name() -> str:
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"{platform.system()} {platform.release()}"
    return f"{name}, {platform.machine()}"
