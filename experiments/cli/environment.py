"""What the programs run on: the devices and the cache of JAX, which are configured before it starts, and the code."""

import contextlib
import os
import subprocess
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from aux_rnn.system.machine import usable_cores

ROOT = Path(__file__).parents[2]
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
    can_compile = find_spec("libtpu") or find_spec("jax_cuda12_plugin")
    if "JAX_PLATFORMS" not in os.environ and can_compile and not has_accelerator():
        jax.config.update("jax_platforms", "cpu")  # these were installed to compile; JAX would search for a TPU or GPU
    is_chosen = DEVICE_COUNT in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ
    if cpu_devices or not is_chosen:
        cores = len(usable_cores()) // (processes if are_all_here else 1)
        with contextlib.suppress(RuntimeError):  # JAX has started
            jax.config.update("jax_num_cpu_devices", cpu_devices or choose_devices(batch_size // processes, cores))


def has_accelerator(devices: Path = Path("/dev")) -> bool:
    """Returns whether JAX has a plugin and a device for it; none is started, as it would reserve memory.

    libtpu and the plugin for CUDA may be installed to compile for hardware that is not present.
    """
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    has_tpu = any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))
    has_nvidia = any(devices.glob("nvidia[0-9]*")) or (devices / "dxg").exists()  # the latter in WSL
    plugins = [plugin.name for plugin in entry_points(group="jax_plugins")]
    return any(has_nvidia or "cuda" not in name for name in plugins) or (has_tpu and find_spec("libtpu") is not None)


def code_version(root: Path = ROOT) -> str:
    """Returns the commit of the code, with '-dirty' if it was changed since; 'unknown' outside of a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        # Only the code counts because results are written into the repository during runs.
        changed = git("status", "--porcelain", "--", "aux_rnn", "experiments")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "-dirty" * bool(changed)
