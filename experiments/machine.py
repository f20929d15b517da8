"""Whether a measurement has an accelerator, and by which version of the code it is made."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def has_accelerator() -> bool:
    """Whether JAX would find a GPU or TPU, judged without starting it here, where it would take the device's memory."""
    if os.environ.get("JAX_PLATFORMS") == "cpu":
        return False
    return any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/kfd", "/dev/accel0", "/dev/vfio/0"))


def code_version(root: Path = ROOT) -> str:
    """The commit of the code, with '-dirty' where it was changed since; 'unknown' outside of a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        # Results are written into the repository while runs go on: only the code counts.
        changed = git("status", "--porcelain", "--", "aux_rnn", "experiments")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + "-dirty" * bool(changed)
