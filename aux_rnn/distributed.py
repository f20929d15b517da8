"""Runs one training in several processes, which coordinate through the service that JAX starts in process 0.

Steps exchange arrays between devices by themselves. What remains are small values on the host: settings to compare,
errors to report and requests to stop. They go through the key-value store of the service, which also monitors the
heartbeats of all processes: JAX aborts every process when another one has died.
"""

import dataclasses
import datetime
import itertools
import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax

# JAX has no public access to its cluster detection, its key-value store and its preemption protocol.
from jax._src import clusters
from jax._src.distributed import global_state
from jax._src.lib import _jax

from aux_rnn.config.fields import ConfigError
from aux_rnn.errors import OneLineError, first_line

T = TypeVar("T")

INITIALIZATION_SECONDS = 45.0
HEARTBEAT_SECONDS = 20
SHUTDOWN_SECONDS = 60
POLL_MS = 1_000  # Python handles signals between two polls
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PREEMPTION_NOTICE = "RECEIVED_PREEMPTION_NOTICE"  # the key at which the protocol of JAX expects the time of preemption


class ProcessError(OneLineError):
    """Reports that another process is missing or failed. The text is one line that names it."""


@dataclasses.dataclass(frozen=True)
class ProcessConfig:
    """The index of a process among the `count` of a run, and how it takes part.

    Process 0 starts the coordination service at `address`, 'host:port'. `local_devices` are the ordinals of the visible
    GPUs that the process uses; None uses all.
    """

    index: int
    count: int
    address: str
    local_devices: Sequence[int] | None = None


def find_processes(num_processes: int = 0, process_id: int = -1, coordinator_address: str = "") -> ProcessConfig | None:
    """Returns the place of this process among others, from flags or as JAX detects it; None for a single process.

    The defaults detect a Cloud TPU, SLURM or Open MPI; `num_processes=1` is a single process on any machine. Raises
    ConfigError if the flags are incomplete or contradict each other.
    """
    if num_processes == 1 and process_id <= 0:
        return None
    if num_processes == 0 and process_id < 0 and not coordinator_address:
        detect = clusters.ClusterEnv.auto_detect_unset_distributed_params
        address, count, index, devices = detect(None, None, None, None, None, round(INITIALIZATION_SECONDS))
        if not address or index is None or not count or count == 1:
            return None
        return ProcessConfig(index, count, address, devices and choose_local_devices(os.environ))
    if num_processes == 0 or process_id < 0 or not coordinator_address:
        raise ConfigError(
            "--num_processes, --process_id and --coordinator_address: all three must be given, or none on a Cloud TPU "
            "or under SLURM; ./launch.sh local N gives them for N processes on this machine"
        )
    if process_id >= num_processes:
        allowed = f"from 0 to {num_processes - 1} with --num_processes={num_processes}"
        raise ConfigError(f"--process_id={process_id}: must be {allowed}")
    host_and_port = re.fullmatch(r"(?:\[[^\[\]]+\]|[^\[\]:]+):([0-9]{1,5})", coordinator_address)
    if not host_and_port or not 0 < int(host_and_port[1]) < 1 << 16:
        raise ConfigError(
            f"--coordinator_address={coordinator_address}: must be HOST:PORT or [IPV6]:PORT, the port from 1 to 65535"
        )
    return ProcessConfig(process_id, num_processes, coordinator_address)


def choose_local_devices(environment: Mapping[str, str]) -> list[int] | None:
    """Returns which of the visible GPUs a process under SLURM or Open MPI uses, by their ordinals; None for all.

    A process uses all visible GPUs if it is the only one on its node or if they are visible to it alone, as with
    `--gpus-per-task`. Otherwise each process on a node uses one.
    """
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    visible = next((environment[name] for name in names if name in environment), None)
    count = None if visible is None else len(list(filter(None, visible.split(","))))
    if count == 1:
        return [0]
    if "OMPI_COMM_WORLD_LOCAL_RANK" in environment:
        local_id, tasks = (int(environment.get(f"OMPI_COMM_WORLD_LOCAL_{name}", 0)) for name in ("RANK", "SIZE"))
    else:
        local_id, node = (int(environment.get(f"SLURM_{name}", 0)) for name in ("LOCALID", "NODEID"))
        # '4(x2),3' stands for 4, 4 and 3 tasks.
        groups = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
        tasks = dict(enumerate(int(size) for size, times in groups for _ in range(int(times or 1)))).get(node, 0)
    per_task = environment.get("SLURM_GPUS_PER_TASK", "").rpartition(":")[2]
    are_own = count is not None and (local_id >= count or str(count) == per_task)
    return None if tasks == 1 or are_own else [local_id]


class ProcessGroup:
    """Exchanges JSON values between the processes of a run. All of them make the same calls in the same order.

    Process 0 (`is_main`) writes the results and the output. A single process has no client of the coordination service.
    """

    def __init__(self, index: int = 0, count: int = 1, client: Any = None) -> None:
        self.index, self.count, self.is_main = index, count, index == 0
        self._client = client
        self._gathers, self._stop_checks = itertools.count(), itertools.count(1)
        self._has_requested = self._is_stopping = False
        self._preemption = None if client is None else _jax.create_preemption_sync_manager()
        if self._preemption is not None:
            self._preemption.initialize(client)
            # JAX has just installed its own handler of SIGTERM; that of this program stays.
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM) or signal.SIG_DFL)

    def all_gather(self, value: Any) -> list[Any]:
        """Returns the values of all processes, ordered by process. Waits without a time limit."""
        if self.count == 1:
            return [value]
        number = next(self._gathers)
        self._client.key_value_set(f"aux_rnn/{number}/{self.index}", json.dumps(value))
        values = [self._get(f"aux_rnn/{number}/{peer}") for peer in range(self.count)]
        # All processes have started this call, so that all have completed the one before.
        if number:
            self._client.key_value_delete(f"aux_rnn/{number - 1}/{self.index}")
        return values

    def broadcast(self, value: Any) -> Any:
        """Returns the value of process 0."""
        return self.all_gather(value if self.is_main else None)[0]

    def run_on_all(self, work: Callable[[], T]) -> T:
        """Runs `work` in every process; if it fails in one, this call fails in all.

        Raises:
          ProcessError: it failed in another process, or here with the same text as in process 0, which reports it.
        """
        error: Exception | None = None
        try:
            result = work()
        except Exception as raised:
            error = raised
        lines = self.all_gather(None if error is None else str(error))
        if error is not None and (self.is_main or str(error) != lines[0]):
            raise error
        for index, line in enumerate(lines):
            if line is not None:
                raise ProcessError(f"process {index} of {self.count}: {line}")
        return result

    def run_on_main_first(self, work: Callable[[], T]) -> T:
        """Runs `work` in process 0 and then in the others, which find what it has prepared; fails as `run_on_all`."""
        first = self.run_on_all(lambda: work() if self.is_main else None)
        later = self.run_on_all(lambda: None if self.is_main else work())
        return first if self.is_main else later  # type: ignore[return-value]

    def is_stopping(self, is_requested: bool) -> bool:
        """Returns whether to stop now, with the same result in all processes.

        A request in one process takes effect in all at the same call, one or two calls later. Until there is a
        request, no process waits for another.
        """
        if self._preemption is None:
            return is_requested
        if is_requested and not self._has_requested:
            self._has_requested = True
            now = datetime.datetime.now(datetime.UTC).isoformat()
            self._client.key_value_set(PREEMPTION_NOTICE, now, allow_overwrite=True)
        is_now = self._preemption.reached_sync_point(next(self._stop_checks))  # true once
        self._is_stopping = self._is_stopping or is_now
        return self._is_stopping

    def check_counts(self) -> None:
        """Raises ProcessError if process 0 and another one were started for different numbers of processes."""
        self._client.key_value_set(f"aux_rnn/count/{self.index}", json.dumps(self.count))
        counts = {peer: self._get(f"aux_rnn/count/{peer}") for peer in (range(self.count) if self.is_main else [0])}
        self._client.key_value_set(f"aux_rnn/counted/{self.index}", "true")
        for peer, count in counts.items():
            if count != self.count:
                if self.is_main:  # JAX aborts the others after this process, so they report it first
                    self._get(f"aux_rnn/counted/{peer}")
                    time.sleep(2 * POLL_MS / 1_000)
                raise ProcessError(
                    f"--num_processes={self.count}: process {peer} has {count}; start all with the same number"
                )

    def close(self) -> None:
        """Ends the exchange; JAX waits for all processes when this one exits."""
        if self._preemption is not None:
            self._preemption.shutdown()

    def _get(self, key: str) -> Any:
        while True:
            try:
                return json.loads(self._client.blocking_key_value_get(key, POLL_MS))
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise


SINGLE_PROCESS = ProcessGroup()


def initialize(config: ProcessConfig | None, seconds: float = INITIALIZATION_SECONDS) -> ProcessGroup:
    """Connects all processes of a run and starts JAX on their devices. Must precede any other use of JAX.

    Raises:
      ProcessError: not all processes connect in time, or the port cannot be used. JAX may keep waiting in a thread and
        abort this process later, so the caller should exit with `os._exit`.
    """
    if config is None:
        return SINGLE_PROCESS
    if config.index == 0:
        check_port(config.address)
    # Orbax would call the preemption protocol with numbers of its own; ProcessGroup has a private instance.
    jax.config.update("jax_enable_preemption_service", False)
    errors: list[Exception] = []
    thread = threading.Thread(target=connect, args=(config, round(seconds) + 30, errors), daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise ProcessError(
            f"--coordinator_address={config.address}: not all of the {config.count} processes connected there within "
            f"{seconds:.0f} seconds; start all of them, with --process_id from 0 to {config.count - 1}"
        )
    if errors:
        raise ProcessError(f"--coordinator_address={config.address}: {first_line(errors[0])}; choose another address")
    group = ProcessGroup(config.index, config.count, global_state.client)
    group.check_counts()
    jax.devices()  # exchanges the devices of all processes while they are known to be here
    return group


def check_port(address: str) -> None:
    """Raises ProcessError if this process cannot listen at the port; JAX may crash there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_server(("", int(port)), family=socket.AF_INET6 if "[" in host else socket.AF_INET).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ProcessError(
            f"--coordinator_address={address}: the port cannot be used ({reason}); choose another"
        ) from error


def connect(config: ProcessConfig, seconds: int, errors: list[Exception]) -> None:
    """Connects to the coordination service, started by process 0; adds what fails to `errors`."""
    is_local = config.address.rpartition(":")[0] in LOOPBACK
    try:
        jax.distributed.initialize(
            config.address,
            config.count,
            config.index,
            config.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            coordinator_bind_address=config.address if is_local else None,
        )
    except Exception as error:
        errors.append(error)
