"""Configures what JAX reads before its first device: the devices of a CPU and the compilation cache."""

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path

from aux_rnn.system.machine import usable_cores
from cli.machine import has_accelerator

MIN_ROWS = 16  # examples per device below which its matrix products are no longer efficient (results/speed)
DEVICE_COUNT = "--xla_force_host_platform_device_count"
MIN_COMPILE_SECONDS = 0.2  # programs that compile faster are not kept


def choose_devices(batch_size: int, cores: int) -> int:
    """Returns the number of CPU devices: at most one per core, equal shares of at least `MIN_ROWS` examples each."""
    most = max(1, min(cores, batch_size // MIN_ROWS))
    return next(count for count in range(most, 0, -1) if batch_size % count == 0)


def cache_folder() -> str | None:
    """Returns the folder of compiled programs; None for a user without a home directory."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return str(Path(caches) / "aux_rnn" / "compiled")


def configure_jax(batch_size: int, cpu_devices: int = 0, processes: int = 1, are_all_here: bool = True) -> None:
    """Sets the CPU devices and the compilation cache, unless an environment variable or the host program has done so.

    The devices, 0 for a number that fits the batch, stay as they are once JAX has started. `processes` share the batch
    and, if `are_all_here`, the cores of this machine.
    """
    import jax  # a mistake on the command line need not wait for it

    if jax.config.values["jax_compilation_cache_dir"] is None and (folder := cache_folder()):
        jax.config.update("jax_compilation_cache_dir", folder)
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    if "JAX_PLATFORMS" not in os.environ and find_spec("libtpu") and not has_accelerator():
        jax.config.update("jax_platforms", "cpu")  # libtpu was installed to compile; JAX would search for a TPU
    is_chosen = DEVICE_COUNT in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ
    if cpu_devices or not is_chosen:
        cores = len(usable_cores()) // (processes if are_all_here else 1)
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", cpu_devices or choose_devices(batch_size // processes, cores))
