"""Checkpoints of the training state, written and read by one process. All calls of Orbax are in this module.

Orbax commits a checkpoint by renaming its directory, so an interrupted save is never listed. It has no checksum over
array data, however: a flipped bit is restored without an error. Each checkpoint therefore stores a digest of its
content, which is verified when the checkpoint is read.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint import checkpoint_managers as policies

from aux_rnn.errors import OneLineError, first_line

STATE, META, DIGEST = "state", "meta", "sha256"
NEWEST_KEPT = 3
MAX_REASON = 160  # characters
# The thread of all calls of Orbax, which numbers the operations of a process and waits for minutes if two threads call
# it at once. Orbax also runs an event loop, and the caller's thread may have one.
ORBAX = ThreadPoolExecutor(1)


class CheckpointError(OneLineError):
    """No checkpoint can be used. The text says, in one line, what was tried and what to do.

    Examples:
      >>> read_checkpoint(Path("run/checkpoints"), 7, like=None)
      Traceback (most recent call last):
      aux_rnn.storage.checkpoints.CheckpointError: run/checkpoints/7: cannot be used (...); choose another checkpoint
    """


class Restored(NamedTuple):
    """The content of a checkpoint: the state, on the host, and the JSON metadata saved with it."""

    state: Any
    meta: dict[str, Any]


def digest(tree: Any) -> str:
    """Returns the SHA-256 over the paths, types, shapes and bytes of all arrays, in the order of their paths."""
    hashed = hashlib.sha256()
    for path, leaf in sorted((jax.tree_util.keystr(p), np.asarray(x)) for p, x in jax.tree.leaves_with_path(tree)):
        hashed.update(f"{path} {leaf.dtype} {leaf.shape}\n".encode())
        hashed.update(np.ascontiguousarray(leaf).tobytes())
    return hashed.hexdigest()


def digest_of(step: int, state: Any, meta: dict[str, Any]) -> str:
    """Returns the SHA-256 over the whole content of a checkpoint."""
    return digest({"step": np.int64(step), "state": state, "meta": np.array(json.dumps(meta, sort_keys=True))})


def shapes_of(tree: Any) -> dict[str, list[int]]:
    """Returns the shapes of all arrays by path, such as 'params/head/output/bias'."""
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): list(leaf.shape) for path, leaf in leaves}


def describe_shapes(found: Mapping[str, list[int]], expected: Mapping[str, list[int]]) -> str:
    """Describes one array that differs; returns an empty string if none does."""
    # Arrays that both have are the most informative, and parameters more than the state of the optimizer.
    differing = [
        (path not in found or path not in expected, not path.startswith("params/"), path)
        for path in found.keys() | expected.keys()
        if found.get(path) != expected.get(path)
    ]
    if not differing:
        return ""
    path = min(differing)[-1]
    return f"{path} is {found.get(path, 'missing')} there, and {expected.get(path, 'there is none')} by the settings"


def list_steps(folder: Path) -> list[int]:
    """Returns the steps of all complete checkpoints in a folder, newest first. Other entries are ignored."""
    folders = folder.glob("[0-9]*") if folder.is_dir() else []
    complete = [f for f in folders if f.name.isdigit() and all((f / item).is_dir() for item in (STATE, META))]
    return sorted((int(f.name) for f in complete), reverse=True)


def read_checkpoint(folder: Path, step: int, like: Any) -> Restored:
    """Reads the checkpoint `folder/step` into a state like the given `TrainState`, and verifies its digest.

    The running totals in `like.metrics` are matched by name, so a checkpoint stays usable when a metric is added or
    removed: a total that it lacks keeps the value of `like`, and one that is not in `like` is dropped.

    Raises CheckpointError if the checkpoint is missing, damaged, or of another architecture.
    """
    try:
        return ORBAX.submit(_read, folder.resolve() / str(step), step, jax.device_get(like)).result()
    except Exception as error:  # Orbax raises a different type for each kind of damage.
        reason = first_line(error, MAX_REASON)
        remedy = "choose another checkpoint"
        raise CheckpointError(f"{folder / str(step)}: cannot be used ({reason}); {remedy}") from error


def _read(path: Path, step: int, like: Any) -> Restored:
    # A handler used alone does not wait for other processes, which do not take part.
    handler = ocp.StandardCheckpointHandler()
    saved = handler.metadata(path / STATE).tree
    total = next(iter(like.metrics.values()))
    target = like.replace(metrics=dict.fromkeys(saved["metrics"], total))
    if difference := describe_shapes(shapes_of(saved), shapes_of(target)):
        raise CheckpointError(f"of another architecture: {difference}")
    state = jax.device_get(handler.restore(path / STATE, args=ocp.args.StandardRestore(target)))
    meta = dict(ocp.JsonCheckpointHandler().restore(path / META))
    if meta.pop(DIGEST, None) != digest_of(step, state, meta):
        raise CheckpointError("its content does not match its digest")
    metrics = {name: state.metrics.get(name, empty) for name, empty in like.metrics.items()}
    return Restored(state.replace(metrics=metrics), meta)


def read_latest(folder: Path, like: Any) -> Restored | None:
    """Reads the newest intact checkpoint, or returns None if there is none at all.

    A damaged checkpoint is passed over with a warning. It stays until the run saves the same step again. Raises
    CheckpointError if there are checkpoints but none is intact: starting from step 0 would hide the loss.
    """
    damaged: dict[int, str] = {}
    for step in list_steps(folder):
        try:
            restored = read_checkpoint(folder, step, like)
        except CheckpointError as error:
            damaged[step] = first_line(error.__cause__ or error, MAX_REASON)
            continue
        for each, reason in damaged.items():
            logging.warning("checkpoint %d in %s cannot be used (%s); %d is used instead", each, folder, reason, step)
        return restored
    if damaged:
        newest = max(damaged)
        raise CheckpointError(
            f"{folder}: none of the checkpoints {list(damaged)} is intact ({newest}: {damaged[newest]}); "
            "restore the folder from a copy, or start again with another workdir"
        )
    return None


class CheckpointWriter:
    """Writes checkpoints to `folder/STEP` in the background, and keeps the newest three and the best one.

    The folder is created if it is missing; remains of interrupted saves in it are removed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # `BestN` would store the metric in a file of each checkpoint, and fail to start if one of them is damaged. The
        # best step is part of our metadata instead, which the digest covers.
        self._kept = [policies.LatestN(NEWEST_KEPT), policies.CustomSteps([])]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(self._kept),
            cleanup_tmp_directories=True,
            create=False,  # Orbax refuses to create a folder if only some of the processes take part.
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}, barrier_sync_key_prefix=folder.name
            ),
        )
        create = partial(ocp.CheckpointManager, folder.resolve(), options=options, item_names=(STATE, META))
        self._last: Future = ORBAX.submit(create)
        self._manager: ocp.CheckpointManager = self._last.result()

    def save(self, step: int, state: Any, meta: dict[str, Any], best_step: int | None) -> None:
        """Copies a `TrainState` to the host and starts to write it with JSON metadata; earlier saves are then complete.

        A checkpoint of the same step, from before the run continued from an older one, is replaced. The checkpoint of
        `best_step` is kept in addition to the newest ones. Raises the error of Orbax if the previous one could not be
        written.
        """
        host = jax.device_get(state)
        self.wait()
        self._kept[1] = policies.CustomSteps([] if best_step is None else [best_step])
        meta = {**meta, DIGEST: digest_of(step, host, meta)}
        items = ocp.args.Composite(**{STATE: ocp.args.StandardSave(host), META: ocp.args.JsonSave(meta)})

        def write() -> None:
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._manager.save(step, args=items, force=True)
            self._manager.wait_until_finished()

        self._last = ORBAX.submit(write)

    def wait(self) -> None:
        """Waits until all checkpoints are on disk. Raises the error of the last save, if it failed."""
        self._last.result()

    def close(self) -> None:
        """Waits, and ends the threads that Orbax has started."""
        ORBAX.submit(self._manager.close).result()
