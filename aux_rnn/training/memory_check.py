"""Refuses what does not fit into the memory of the devices."""

import platform

import jax

from aux_rnn.config.fields import ConfigError, reject
from aux_rnn.distributed import ProcessGroup
from aux_rnn.system.memory import available_bytes


def require_memory(device_bytes: int, setting: tuple[str, object], what: str, processes: ProcessGroup) -> None:
    """Raises ConfigError, naming a setting, if all local devices together need more memory than is available.

    Processes on one machine share its memory where the devices are CPUs.
    """
    host = platform.node() if jax.default_backend() == "cpu" else f"{processes.index}"
    needed = processes.all_gather([host, device_bytes * jax.local_device_count()])
    here = sum(size for name, size in needed if name == host)

    def check() -> None:
        available = available_bytes()
        if available is not None and here > available:
            gib = f"{what} {here / 2**30:,.1f} GiB and {available / 2**30:,.1f} GiB are available"
            raise too_large(*setting, gib)

    processes.run_on_all(check)


def too_large(name: str, value: object, reason: str) -> ConfigError:
    remedies = {
        "batch_size": "smaller, or the sequences or truncation lengths shorter",
        "data_on_device": "never",
    }
    return reject(name, value, f"{remedies.get(name, 'smaller')}: {reason}")
