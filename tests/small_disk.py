"""A disk that is small enough to fill, made without root where the system allows name spaces of users."""

import contextlib
import subprocess
from pathlib import Path

MEBIBYTES = 4
MOUNT = f'mount -t tmpfs -o size={MEBIBYTES}m none "$1" && echo mounted && exec cat'


class NoDiskError(Exception):
    """The system does not let a user mount one. The text says why."""


class SmallDisk:
    """A file system in memory, gone with the process that holds it.

    The programs that are started through `enter` find it in the folder, this process below `outside`.

    Args:
      folder: where it is mounted, which must exist.

    Raises:
      NoDiskError: it cannot be mounted.
    """

    def __init__(self, folder: Path) -> None:
        unshare = ["unshare", "--user", "--map-root-user", "--mount"]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            self._holder = subprocess.Popen([*unshare, "sh", "-c", MOUNT, "sh", str(folder)], **pipes)
        except FileNotFoundError as error:
            raise NoDiskError(str(error)) from error
        if self._holder.stdout.readline() != "mounted\n":
            raise NoDiskError(self._holder.communicate()[1].strip())
        self.inside = folder
        self.outside = Path(f"/proc/{self._holder.pid}/root") / folder.relative_to("/")
        self.enter = ["nsenter", f"--target={self._holder.pid}", "--user", "--mount", "--preserve-credentials"]

    def fill(self, leave: int = 0) -> None:
        """Takes all the room there is but `leave` bytes."""
        ballast = self.outside / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for _ in range(MEBIBYTES << 8):
                file.write(bytes(4096))
        with ballast.open("r+b") as file:
            file.truncate(max(0, ballast.stat().st_size - leave))

    def make_room(self) -> None:
        """Gives back what `fill` took."""
        (self.outside / "ballast").unlink()

    def remount(self, mode: str) -> None:
        """Makes it read-only (`ro`) or not (`rw`)."""
        subprocess.run([*self.enter, "mount", "-o", f"remount,{mode}", str(self.inside)], check=True)

    def close(self) -> None:
        self._holder.communicate()
