"""Checkpoints of the training state, written and read by one process. All of Orbax is in this file.

Orbax commits a checkpoint by renaming its folder, so one that was interrupted is never listed; but it restores a
flipped bit without a word. Each checkpoint therefore carries a digest over the values of its state, and one that does
not match is passed over.
"""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

STATE, META = "state", "meta"


class CheckpointError(Exception):
    """No checkpoint can be used. The text says, in one line, what was tried and what to do."""


def digest(tree: Any) -> str:
    """SHA-256 over the paths, types, shapes and bytes of all arrays, in the order of their paths."""
    hashed = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(p), np.asarray(x)) for p, x in jax.tree.leaves_with_path(tree)):
        hashed.update(f"{path} {leaf.dtype} {leaf.shape}\n".encode())
        hashed.update(np.ascontiguousarray(leaf).tobytes())
    return hashed.hexdigest()


def free_name(path: Path) -> Path:
    """The path, or with a number behind it the first that does not exist."""
    candidates = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(c for c in itertools.chain([path], candidates) if not c.exists())


class Checkpoints:
    """The newest checkpoints of one run, `checkpoints/<step>/`, written in the background.

    Args:
      folder: where they are.
      keep: how many of them stay.
      read_only: leaves the folder as it is; without it, remains of interrupted saves are removed.

    Raises:
      CheckpointError: the folder is only to be read, and does not exist.
    """

    def __init__(self, folder: Path, keep: int = 3, read_only: bool = False) -> None:
        if read_only and not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder; train first")
        self.folder, self._read_only = folder, read_only
        if not read_only:
            folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=ocp.checkpoint_managers.LatestN(keep),
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,  # which Orbax leaves to us where not all processes take part
            # The others wait for nobody here: no barrier that they would have to come to.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix=folder.name
            ),
        )
        self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_names=(STATE, META))

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Begins to write a checkpoint of a host copy of the state; earlier ones are complete when this returns.

        One of this step that is there already, from before the run went back to an older one, is replaced.
        """
        if step in self._manager.all_steps():
            self._manager.delete(step)
        host = jax.device_get(state)
        meta = {**meta, "digest": digest(host)}
        items = ocp.args.Composite(**{STATE: ocp.args.StandardSave(host), META: ocp.args.JsonSave(meta)})
        self._manager.save(step, args=items, force=True)

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def restore_latest(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The newest checkpoint that is intact, or None if there is none at all.

        Args:
          like: a state of the same structure, shapes and types.

        Returns:
          The state on the host, and the meta data it was saved with.

        Raises:
          CheckpointError: there are checkpoints but none is intact; a fresh start would hide the loss.
        """
        host = jax.device_get(like)
        damaged: list[int] = []
        for step in self.steps():
            try:
                restored = self._restore(step, host)
            except Exception as error:  # Orbax raises whatever its layers raise for a damaged file.
                reason = str(error).strip().split("\n")[0][:120]
                logging.warning("checkpoint %d in %s cannot be used (%s)", step, self.folder, reason)
                damaged.append(step)
            else:
                self.set_aside(damaged)
                return restored
        if self.steps():
            raise CheckpointError(
                f"{self.folder}: none of the checkpoints {self.steps()} is intact; "
                "restore the folder from a copy, or start again with another --workdir"
            )
        return None

    def set_aside(self, steps: list[int]) -> None:
        """Moves damaged checkpoints out of the way of the run, which will save these steps again."""
        if steps and not self._read_only:
            for step in steps:
                kind = self.folder.name.removesuffix("s")
                (self.folder / str(step)).rename(free_name(self.folder.parent / f"damaged-{kind}-{step}"))
            self._manager.reload()

    def _restore(self, step: int, host: Any) -> tuple[Any, dict[str, Any]]:
        items = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(host), META: ocp.args.JsonRestore()})
        restored = self._manager.restore(step, args=items)
        state, meta = jax.device_get(restored[STATE]), restored[META]
        if digest(state) != meta.get("digest"):
            raise CheckpointError("its values do not match their digest")
        return state, meta

    def wait(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()
