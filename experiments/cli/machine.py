"""Detects accelerators and the version of the code."""

import os
import subprocess
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]


def has_accelerator(devices: Path = Path("/dev")) -> bool:
    """Returns whether JAX has a plugin for GPUs, or libtpu and a TPU; none is started, as it would reserve memory.

    libtpu alone may be installed to compile for TPUs that are not present.
    """
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    has_tpu = any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))
    return bool(entry_points(group="jax_plugins")) or (has_tpu and find_spec("libtpu") is not None)


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
