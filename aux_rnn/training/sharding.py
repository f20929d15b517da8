"""Distributes steps over devices: `jax.pmap`, its axis, and the placement of arrays, in this module alone.

A step is compiled ahead of time and belongs to its `CompiledStep`. What `jax.pmap` compiles when it is called stays in
a cache of the process until `jax.clear_caches()`, which would also drop the compiled functions of the host program.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aux_rnn.recurrence.precision import highest_precision
from aux_rnn.recurrence.scan import traced_for

AXIS = "devices"


class CompiledStep:
    """A step `(replicated, batch, *constants) -> replicated` on all devices, compiled on its first call.

    All calls whose arguments have the same structure must have the same shapes and dtypes. Every process passes its own
    share of the batch; the constants are replicated, too.

    Args:
      function: the step of one device, which may sum over `AXIS`.
      donates: whether the first argument's memory is reused for the result.
      devices: all devices of all processes; None for those of JAX. A step for the devices of a topology can be
        compiled, from shapes alone, but not called.
    """

    def __init__(self, function: Callable, donates: bool = False, devices: Sequence[jax.Device] | None = None) -> None:
        self._function = highest_precision(function)
        self._donate_argnums = (0,) if donates else ()
        self._devices = devices
        self._compiled: dict[Any, jax.stages.Compiled] = {}  # by structure
        self._lock = threading.Lock()  # several threads may train with the same step

    def __call__(self, replicated: Any, batch: dict[str, Any], *constants: Any) -> Any:
        return self.compile(replicated, batch, *constants)(replicated, to_global(batch), *constants)

    def compile(self, replicated: Any, batch: dict[str, Any], *constants: Any) -> jax.stages.Compiled:
        """Compiles for arguments like these, unless that is done already; returns the executable."""
        structure = jax.tree.structure((batch, constants))
        with self._lock:
            if structure not in self._compiled:
                self._compiled[structure] = self.lower(replicated, batch, *constants).compile()
            return self._compiled[structure]

    def lower(self, replicated: Any, batch: dict[str, Any], *constants: Any) -> jax.stages.Lowered:
        """Traces and lowers the step for values as `replicate` returns them and a batch as `shard` returns it."""
        mapped = jax.pmap(
            self._function,
            axis_name=AXIS,
            in_axes=(None, 0, *(None for _ in constants)),
            out_axes=None,
            devices=self._devices,
            donate_argnums=self._donate_argnums,
        )
        try:
            with traced_for(self._devices[0].platform if self._devices else None):
                return mapped.lower(jax.tree.map(local_copy, replicated), batch, *jax.tree.map(local_copy, constants))
        finally:
            forget(self._function)


def forget(function: Callable) -> None:
    """Removes a function from the cache of `jax.pmap`, whose entries refer to their own keys and are never dropped."""
    try:
        from jax._src.pmap import _cached_shard_map  # there is no public way, as `clear_cache` is for `jax.jit`
    except ImportError:  # in another version of JAX, for which tests/test_host_program.py shows what is kept
        return
    _cached_shard_map.evict_function(function)


def all_devices() -> Mesh:
    """Returns a mesh over the devices of all processes in the order of `jax.pmap`: process by process."""
    devices = [device for index in range(jax.process_count()) for device in jax.local_devices(process_index=index)]
    return Mesh(np.array(devices), (AXIS,))


def replicate(tree: Any) -> Any:
    """Copies arrays, which are equal in all processes, to all devices, in the layout that steps return."""
    sharding = NamedSharding(all_devices(), PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def broadcast(tree: Any) -> Any:
    """Returns the arrays of process 0 in every process, on the host."""
    if jax.process_count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.device_get(tree))


def shard(batch: dict[str, Any]) -> dict[str, Any]:
    """Divides this process's share of a batch over its devices: every array `[B, ...]` to `[D, B / D, ...]`."""
    devices = jax.local_device_count()
    return {name: values.reshape(devices, -1, *values.shape[1:]) for name, values in batch.items()}


def to_global(batch: dict[str, Any]) -> dict[str, Any]:
    """Joins the shares of all processes; a compiled `jax.pmap` does not do this itself, unlike one that is called."""
    if jax.process_count() == 1:
        return batch
    sharding = NamedSharding(all_devices(), PartitionSpec(AXIS))
    return jax.tree.map(partial(jax.make_array_from_process_local_data, sharding), batch)


def local_copy(array: Any) -> Any:
    """Returns this process's copy of a replicated array."""
    is_global = isinstance(array, jax.Array) and not array.is_fully_addressable
    return array.addressable_data(0) if is_global else array
