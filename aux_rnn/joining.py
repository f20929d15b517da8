"""Becoming one of the processes of a run.

JAX ends a process from within, with a stack trace, where another one is missing, and lets one too many end a whole run.
So the roll is called first (`roll.py`), and only when all are there JAX is started, at a port that process 0 names.
"""

import jax

# How JAX tells that it is on a Cloud TPU or under SLURM is not public; it is used here and nowhere else.
from jax._src import clusters

from aux_rnn.processes import ALONE, OnLoss, Processes, Team
from aux_rnn.roll import JOIN_SECONDS, Place, call_roll, report_to_roll, split_address
from aux_rnn.settings import ConfigError


def find_place(num_processes: int = 0, process_id: int = -1, coordinator_address: str = "") -> Place | None:
    """What the flags say, or else what JAX finds out on a Cloud TPU, under SLURM or Open MPI; None for one process.

    Args:
      num_processes: 0 finds out; 1 is alone whatever the machine is.
      process_id: of this process; -1 if it is to be found out.
      coordinator_address: 'host:port'; empty if it is to be found out.

    Raises:
      ConfigError: the flags say too little, or contradict each other.
    """
    is_explicit = process_id >= 0 or bool(coordinator_address)
    if num_processes == 1 and process_id <= 0:
        return None
    if num_processes == 0 and not is_explicit:
        address, count, index, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
            None, None, None, None, None, round(JOIN_SECONDS)
        )
        return Place(index, count, address, devices) if address and count and count > 1 and index is not None else None
    if num_processes == 0 or process_id < 0 or not coordinator_address:
        raise ConfigError(
            "--num_processes, --process_id and --coordinator_address: all three must be given, or none on a Cloud TPU "
            "or under SLURM; ./launch.sh local N gives them for N processes on this machine"
        )
    if process_id >= num_processes:
        allowed = f"from 0 to {num_processes - 1} with --num_processes={num_processes}"
        raise ConfigError(f"--process_id={process_id}: must be {allowed}")
    split_address(coordinator_address)
    return Place(process_id, num_processes, coordinator_address)


def join(place: Place | None, on_loss: OnLoss, seconds: float = JOIN_SECONDS) -> Processes:
    """Waits until all processes are there and starts JAX on them. To be called before anything is asked of JAX.

    Args:
      place: of this process; None for a run of one.
      on_loss: see `OnLoss`.
      seconds: how long to wait for the others.

    Raises:
      ProcessError: a process is missing or there is one too many, with the counts expected and seen.
    """
    if place is None:
        return ALONE
    connections, jax_address = call_roll(place, seconds) if place.index == 0 else report_to_roll(place, seconds)
    # The service would catch SIGTERM and do nothing.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        jax_address,
        place.count,
        place.index,
        place.local_devices,
        cluster_detection_method="deactivate",
        initialization_timeout=round(JOIN_SECONDS),
    )
    # The devices of all are found by all together: a process that asked for them later would wait for the others.
    jax.devices()
    return Team(place.index, place.count, connections, on_loss)
