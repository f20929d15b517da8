"""Memory of the process and of its devices: peak and available."""

import resource
import sys
from pathlib import Path


def peak_memory_mib() -> float:
    """Returns the peak memory so far in MiB: of the process on a CPU, of its first device elsewhere."""
    import jax  # here, so that a process without JAX can be measured without taking its memory

    device = jax.local_devices()[0]
    statistics = None if device.platform == "cpu" else device.memory_stats()
    return statistics["peak_bytes_in_use"] / 2**20 if statistics else peak_process_mib()


def describe_devices() -> str:
    """Returns '2 x cpu' for the devices of all processes together."""
    import jax  # as above

    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"


def available_bytes() -> int | None:
    """Returns the free memory of all devices of this process together; None where the system does not report it."""
    import jax  # as above

    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        return available_system_bytes()
    stats = [device.memory_stats() or {} for device in devices]
    if not all("bytes_limit" in each for each in stats):
        return None
    return sum(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in stats)


def available_system_bytes(
    meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> int | None:
    """Returns the bytes available without swapping, within the limit of the control group; None if unknown."""
    try:
        lines = meminfo.read_text().splitlines()
        available = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
    try:
        return min(available, int(limit.read_text()))
    except (OSError, ValueError):
        return available


def peak_process_mib(status: Path = Path("/proc/self/status")) -> float:
    """Returns the largest resident set of this process so far, in MiB.

    Linux counts the peak of the program that started this one into `getrusage`, so its own figure is read where the
    kernel gives it.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
