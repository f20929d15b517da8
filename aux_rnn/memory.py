"""How much memory a process has taken."""

import resource
import sys
from pathlib import Path


def peak_memory_mib(status: Path = Path("/proc/self/status")) -> float:
    """The largest resident set of this process so far, in MiB.

    Linux counts the peak of the program that started this one into `getrusage`, so its own figure is read where the
    kernel gives it.

    Args:
      status: the kernel's account of this process; where it does not exist, `getrusage` is asked.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 1024
