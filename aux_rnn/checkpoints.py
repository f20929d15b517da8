"""Checkpoints of the training state, written and read by one process. All of Orbax is in this file.

Orbax commits a checkpoint by renaming its folder, so one that was interrupted is never listed; but it restores a
flipped bit without a word. Each checkpoint therefore carries a digest over all that is in it, and one that does not
match is passed over. A disk that fills up makes Orbax fail in another thread, later and in many lines, so room is asked
for before anything is written.
"""

import hashlib
import itertools
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from aux_rnn.errors import OneLineError, first_line
from aux_rnn.shapes import describe_shapes, shapes_of

STATE, META, DIGEST = "state", "meta", "sha256"
LONGEST_REASON = 160
OVERHEAD_BYTES = 1 << 18  # of a checkpoint: its many small files


class CheckpointError(OneLineError):
    """No checkpoint can be used. The text says, in one line, what was tried and what to do.

    Examples:
      >>> Checkpoints(Path("no/such/folder"), read_only=True)
      Traceback (most recent call last):
      aux_rnn.checkpoints.CheckpointError: no/such/folder: no such folder; train first
    """


def digest(tree: Any) -> str:
    """SHA-256 over the paths, types, shapes and bytes of all arrays, in the order of their paths."""
    hashed = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(p), np.asarray(x)) for p, x in jax.tree.leaves_with_path(tree)):
        hashed.update(f"{path} {leaf.dtype} {leaf.shape}\n".encode())
        hashed.update(np.ascontiguousarray(leaf).tobytes())
    return hashed.hexdigest()


def digest_of(step: int, state: Any, meta: dict[str, Any]) -> str:
    """SHA-256 over all that a checkpoint holds."""
    return digest({"step": np.int64(step), "state": state, "meta": np.array(json.dumps(meta, sort_keys=True))})


def require_room(folder: Path, size: int) -> None:
    """Raises OSError, as the system words it, unless so many bytes can be written into the folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)


def free_name(path: Path) -> Path:
    """The path, or with a number behind it the first that does not exist."""
    candidates = (path.with_name(f"{path.name}.{number}") for number in itertools.count(1))
    return next(c for c in itertools.chain([path], candidates) if not c.exists())


def list_steps(folder: Path) -> list[int]:
    """The steps of all complete checkpoints in a folder, newest first; any other folder in it is none."""
    folders = folder.glob("[0-9]*") if folder.is_dir() else []
    complete = [f for f in folders if f.name.isdigit() and all((f / item).is_dir() for item in (STATE, META))]
    return sorted((int(f.name) for f in complete), reverse=True)


class Checkpoints:
    """The newest checkpoints of one run, `checkpoints/<step>/`, written in the background.

    Args:
      folder: where they are.
      keep: how many of them stay.
      read_only: leaves the folder as it is; without it, remains of interrupted saves are removed.

    Raises:
      CheckpointError: the folder is only to be read, and does not exist; or it cannot be made or written.
    """

    def __init__(self, folder: Path, keep: int = 3, read_only: bool = False) -> None:
        if read_only and not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder; train first")
        self.folder, self._read_only = folder, read_only
        if not read_only:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                require_room(folder, 1)
            except OSError as error:
                raise CheckpointError(f"{folder}: cannot be written ({error.strerror}); mend or move it") from error
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

        Raises:
          OSError: there is no room for it.
          Exception: what Orbax raises, if the checkpoint before could not be written.
        """
        host = jax.device_get(state)
        require_room(self.folder, sum(leaf.nbytes for leaf in jax.tree.leaves(host)) + OVERHEAD_BYTES)
        if step in self._manager.all_steps():
            self._manager.delete(step)
        meta = {**meta, DIGEST: digest_of(step, host, meta)}
        items = ocp.args.Composite(**{STATE: ocp.args.StandardSave(host), META: ocp.args.JsonSave(meta)})
        self._manager.save(step, args=items, force=True)

    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, newest first."""
        return list_steps(self.folder)

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
        damaged: dict[int, str] = {}
        steps = self.steps()
        for step in steps:
            try:
                restored = self._restore(step, host)
            except Exception as error:  # Orbax raises whatever its layers raise for a damaged file.
                damaged[step] = first_line(error, LONGEST_REASON)
            else:
                for each, reason in damaged.items():
                    logging.warning("checkpoint %d in %s cannot be used (%s)", each, self.folder, reason)
                self.set_aside(list(damaged))
                return restored
        if steps:
            raise CheckpointError(
                f"{self.folder}: none of the checkpoints {steps} is intact ({steps[0]}: {damaged[steps[0]]}); "
                "restore the folder from a copy, or start again with another --workdir"
            )
        return None

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """As `restore_latest`, for one checkpoint; raises CheckpointError if it is damaged or of another form."""
        try:
            return self._restore(step, jax.device_get(like))
        except Exception as error:  # as above
            reason = first_line(error, LONGEST_REASON)
            raise CheckpointError(
                f"{self.folder / str(step)}: cannot be used ({reason}); choose another --checkpoint"
            ) from error

    def set_aside(self, steps: list[int]) -> None:
        """Moves damaged checkpoints out of the way of the run, which will save these steps again."""
        if steps and not self._read_only:
            for step in steps:
                kind = self.folder.name.removesuffix("s")
                (self.folder / str(step)).rename(free_name(self.folder.parent / f"damaged-{kind}-{step}"))
            self._manager.reload()

    def _restore(self, step: int, host: Any) -> tuple[Any, dict[str, Any]]:
        self._require_form(step, host)
        items = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(host), META: ocp.args.JsonRestore()})
        restored = self._manager.restore(step, args=items)
        state, meta = jax.device_get(restored[STATE]), dict(restored[META])
        if meta.pop(DIGEST, None) != digest_of(step, state, meta):
            raise CheckpointError("its content does not match its digest")
        return state, meta

    def _require_form(self, step: int, host: Any) -> None:
        """Raises CheckpointError if the checkpoint is that of another network or optimizer."""
        # The handler alone waits for no other process.
        metadata = ocp.StandardCheckpointHandler().metadata(self.folder.resolve() / str(step) / STATE)
        if difference := describe_shapes(shapes_of(metadata.tree), shapes_of(host)):
            raise CheckpointError(f"of another architecture: {difference}")

    def wait(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()
