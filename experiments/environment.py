"""What must be settled before JAX starts: devices on a CPU, how memory is taken, where compiled programs are kept.

All of it is environment variables, and a variable that is already set is left alone. The allocator reads its own when a
process starts, so the program is started anew, once, with the same command line (the process stays the same).
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from machine import has_accelerator

from aux_rnn.machine import usable_cores

# A step takes hundreds of MiB and gives them back, and the system fills what it hands out with zeros, page by page of
# 4 KiB. With memory that stays in the process, in pages of 2 MiB, a step at the paper's sizes is faster.
ALLOCATOR = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=0x4000000000"

FEWEST_ROWS = 16  # examples a device below which its matrix products are no longer efficient (results/speed)

DEVICE_COUNT = "--xla_force_host_platform_device_count"


def choose_devices(batch_size: int, cores: int) -> int:
    """CPU devices that pay off: one a core, each with `FEWEST_ROWS` examples or more and all with equally many."""
    most = max(1, min(cores, batch_size // FEWEST_ROWS))
    return next(count for count in range(most, 0, -1) if batch_size % count == 0)


def make_variables(
    environment: Mapping[str, str], batch_size: int, cpu_devices: int, has_accelerator: bool, cores: int
) -> dict[str, str]:
    """The variables to add to an environment.

    Args:
      environment: as it is.
      batch_size: of the run.
      cpu_devices: how many devices to make of the CPU; 0 chooses.
      has_accelerator: whether there is a GPU or TPU, beside which the CPU does not count.
      cores: that the process may use.
    """
    cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aux_rnn" / "compiled"
    wanted = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
    if platform.libc_ver()[0] == "glibc" and not has_accelerator:
        wanted["GLIBC_TUNABLES"] = ALLOCATOR
    variables = {name: value for name, value in wanted.items() if name not in environment}
    flags = environment.get("XLA_FLAGS", "")
    if not has_accelerator and (cpu_devices or DEVICE_COUNT not in flags):
        count = cpu_devices or choose_devices(batch_size, cores)
        variables["XLA_FLAGS"] = f"{flags} {DEVICE_COUNT}={count}".strip()  # of two, XLA takes the last
    return variables


def prepare(batch_size: int, cpu_devices: int = 0, processes: int = 1, are_all_here: bool = True) -> None:
    """Sets what is missing, and starts the program anew if only that makes it count; does nothing once JAX is there.

    Args:
      batch_size: of the run.
      cpu_devices: how many devices to make of the CPU; 0 chooses.
      processes: that share the batch.
      are_all_here: whether they share the cores of this machine, too.
    """
    if "jax" in sys.modules:
        return
    cores = len(usable_cores()) // (processes if are_all_here else 1)
    variables = make_variables(os.environ, batch_size // processes, cpu_devices, has_accelerator(), cores)
    os.environ.update(variables)
    if "GLIBC_TUNABLES" in variables:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
