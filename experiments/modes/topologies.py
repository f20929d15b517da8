"""Finds the devices of hardware that need not be present, for which programs can be compiled but not run."""

import dataclasses
import os
import re
from collections.abc import Sequence
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import jax
from jax.experimental import topologies

from aux_rnn.config.fields import ConfigError, setting_error
from aux_rnn.errors import first_line

FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
SLICES = {"v4": CUBES, "v5e": FLAT, "v5p": CUBES, "v6e": FLAT}
ONE_HOST = ("1x1", "2x2", "2x4")  # the flat slices whose chips are all in one machine; other machines have 2 x 2 chips
GIB = 2**30
# Memory of a device that programs can use, as the compiler reports it. A device of a v4 is one of the chip's two cores.
USABLE_BYTES = {"v4": int(15.25 * GIB), "v5e": int(15.75 * GIB), "v5p": int(95.74 * GIB), "v6e": int(31.25 * GIB)}
# Without these, libtpu looks for a TPU of this machine, and refuses a second process that only compiles.
WITHOUT_TPU = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
CUDA_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 } clock_rate_ghz: 1.98 core_count: 132 fpus_per_core: 128
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84942979072
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


@dataclasses.dataclass(frozen=True)
class Topology:
    """Hardware to compile for.

    Attributes:
      name: such as 'v5e:2x4'.
      devices: of all hosts, host by host; arrays cannot be placed on them.
      hosts: number of machines, each with an equal share of the devices.
      usable_bytes: memory of one device that programs can use.
    """

    name: str
    devices: tuple[jax.Device, ...]
    hosts: int
    usable_bytes: int


def find_topology(name: str) -> Topology:
    """Returns the devices of a TPU slice, such as 'v5e:2x4', or of one 'h100'.

    Raises ConfigError if there is no such hardware, or its compiler is not installed.
    """
    if name == "h100":
        os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # the plugin would ask for a driver
        devices = find_devices(name, "compile-gpu", CUDA_PLUGINS, "", "cuda", target_config=H100, topology="1x1x1")
        return Topology(name, tuple(devices), 1, int(re.findall(r"device_memory_size: (\d+)", H100)[0]))
    generation, _, shape = name.partition(":")
    if shape not in SLICES.get(generation, ()):
        flat, cubes = ", ".join(FLAT), ", ".join(CUBES)
        allowed = f"such as v5e:2x4; v5e: and v6e: have {flat}, v4: and v5p: have {cubes}, and h100 is one GPU"
        raise setting_error("topology", name, allowed)
    for variable, value in WITHOUT_TPU.items():
        os.environ.setdefault(variable, value)
    bounds = (*map(int, shape.split("x")), 1) if shape in ONE_HOST else (2, 2, 1)
    require_matching_libtpu(name)
    devices = find_devices(name, "compile-tpu", ["libtpu"], name, "tpu", chips_per_host_bounds=bounds)
    devices.sort(key=lambda device: (device.process_index, device.id))
    hosts = len({device.process_index for device in devices})
    return Topology(name, tuple(devices), hosts, USABLE_BYTES[generation])


def require_matching_libtpu(name: str) -> None:
    """Raises ConfigError if libtpu is installed in another version than this version of JAX needs."""
    needed = (
        next(line for line in metadata.requires("jax") or () if line.startswith("libtpu")).partition(";")[0].strip()
    )
    installed = metadata.version("libtpu") if find_spec("libtpu") else ""
    if installed and not f"{installed}.".startswith(re.sub(r"^libtpu==|\*$", "", needed)):
        remedy = f"JAX {jax.__version__} needs {needed}, which EXTRAS=compile-tpu ./launch.sh ... installs"
        raise ConfigError(f"--topology={name}: libtpu {installed} is installed; {remedy}")


def find_devices(name: str, extra: str, compilers: Sequence[str], *arguments: str, **options: Any) -> list[Any]:
    """Calls `get_topology_desc`. Raises ConfigError if none of the compilers is installed, or they refuse the name."""
    if not any(map(find_spec, compilers)):
        missing = f"{compilers[0]} is not installed; EXTRAS={extra} ./launch.sh ... installs it"
        raise ConfigError(f"--topology={name}: {missing}")
    try:
        return topologies.get_topology_desc(*arguments, **options).devices
    except RuntimeError as error:
        raise ConfigError(f"--topology={name}: {compilers[0]} cannot compile for it ({first_line(error)})") from error
