"""Tests what processes exchange, on the real coordination service, with its clients in threads of one process."""

import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from jax._src.lib import _jax

from aux_rnn.config.fields import ConfigError
from aux_rnn.distributed import ProcessConfig, ProcessError, ProcessGroup, choose_local_devices, find_processes


def find_address(host="127.0.0.1"):
    with socket.create_server(("", 0)) as listener:
        return f"{host}:{listener.getsockname()[1]}"


@pytest.fixture
def on_each():
    """Runs `work(group)` for three processes at once and returns the results; an exception counts as a result."""
    address = find_address()
    service = _jax.get_distributed_runtime_service(address, 3)
    clients = [_jax.get_distributed_runtime_client(address, index, init_timeout=60) for index in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda client: client.connect(), clients))
        groups = [ProcessGroup(index, 3, client) for index, client in enumerate(clients)]

        def run(work):
            def run_one(group):
                try:
                    return work(group)
                except Exception as error:
                    return error

            return list(pool.map(run_one, groups))

        yield run
        for group in groups:
            group.close()
        list(pool.map(lambda client: client.shutdown(), clients))
    service.shutdown()


def raise_error(error):
    raise error


def test_all_processes_receive_the_values_of_all_and_the_store_does_not_grow(on_each):
    def gather_often(group):
        return [group.all_gather({"index": group.index, "call": call}) for call in range(20)]

    expected = [[{"index": index, "call": call} for index in range(3)] for call in range(20)]
    assert on_each(gather_often) == [expected] * 3
    assert on_each(lambda group: group.broadcast(group.index + 5)) == [5, 5, 5]
    keys = on_each(lambda group: group.all_gather(None) and group._client.key_value_dir_get("aux_rnn/"))[0]
    assert len(keys) <= 6, "more than the keys of the last two calls"


def test_an_error_in_one_process_is_raised_in_all(on_each):
    def work(group):
        return group.run_on_all(lambda: raise_error(ValueError("no room")) if group.index == 1 else group.index)

    first, second, third = on_each(work)
    assert isinstance(second, ValueError)
    for error in (first, third):
        assert isinstance(error, ProcessError)
        assert str(error) == "process 1 of 3: no room"
    assert on_each(lambda group: group.run_on_all(lambda: group.index)) == [0, 1, 2]
    # One that all processes have is left for process 0 to report.
    errors = on_each(lambda group: group.run_on_all(lambda: raise_error(ValueError("no such setting"))))
    assert [type(error) for error in errors] == [ValueError, ProcessError, ProcessError]


def test_process_0_runs_first_and_the_others_only_if_it_succeeds(on_each):
    order = []
    on_each(lambda group: group.run_on_main_first(lambda: order.append(group.index)))
    assert (order[0], sorted(order)) == (0, [0, 1, 2])
    ran = []
    errors = on_each(
        lambda group: group.run_on_main_first(lambda: ran.append(group.index) or raise_error(ValueError("damaged")))
    )
    assert ran == [0]
    assert [str(error) for error in errors] == ["damaged", "process 0 of 3: damaged", "process 0 of 3: damaged"]


def test_a_request_to_stop_in_one_process_stops_all_at_the_same_call(on_each):
    def count_calls(group):
        calls = 0
        while not group.is_stopping(group.index == 2 and calls >= 5):
            calls += 1
            time.sleep(0.01 * (group.index + 1))
            group.all_gather(calls)  # as the steps of training do, it keeps the processes within a call of each other
        return calls, group.is_stopping(False)

    (first, *others) = on_each(count_calls)
    assert others == [first] * 2
    assert first[0] >= 5
    assert first[1], "a stop is final"


CONNECT = """
import os, sys
from aux_rnn.distributed import find_processes, initialize
try:
    group = initialize(find_processes(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]), seconds=float(sys.argv[4]))
    print(group.all_gather(group.index), flush=True)
    group.close()
except Exception as error:
    print(error, flush=True)
    os._exit(2)
"""


def connect(*processes, seconds=60):
    """Starts processes with these counts, indices and addresses; returns the last line and exit code of each."""
    commands = [[sys.executable, "-c", CONNECT, *map(str, process), str(seconds)] for process in processes]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    outputs = [process.communicate(timeout=240)[0].splitlines() for process in started]
    return [(output[-1], process.returncode) for output, process in zip(outputs, started, strict=True)]


def test_a_missing_process_and_a_port_in_use_are_reported():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        addresses = find_address(), f"127.0.0.1:{listener.getsockname()[1]}"
        (missing, used) = connect(*((2, 0, address) for address in addresses), seconds=1)
    line = (
        "not all of the 2 processes connected there within 1 seconds; start all of them, with --process_id from 0 to 1"
    )
    assert missing == (f"--coordinator_address={addresses[0]}: {line}", 2)
    line = "the port cannot be used (Address already in use); choose another"
    assert used == (f"--coordinator_address={addresses[1]}: {line}", 2)


def test_different_numbers_of_processes_are_reported():
    address = find_address("[::1]" if socket.has_ipv6 else "127.0.0.1")
    (first, second) = connect((2, 0, address), (3, 1, address))
    assert first == ("--num_processes=2: process 1 has 3; start all with the same number", 2)
    assert second == ("--num_processes=3: process 0 has 2; start all with the same number", 2)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        *((incomplete, "all three must be given") for incomplete in ((2, -1, "host:1"), (2, 0, ""), (0, 0, "host:1"))),
        ((2, 2, "host:1"), "--process_id=2: must be from 0 to 1 with --num_processes=2"),
        *(((2, 0, a), f"--coordinator_address={a}: must be HOST:PORT or") for a in ("host", "host:", ":99", "::1:99")),
        ((2, 0, "host:99999"), "the port from 1 to 65535"),
        ((2, 0, "host:٣"), "must be HOST:PORT"),
    ],
)
def test_incomplete_or_contradicting_flags_are_refused(flags, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        find_processes(*flags)


# Of the second of two nodes with four tasks each.
TASK = {"SLURM_JOB_ID": "65535", "SLURM_STEP_NODELIST": "node[003-004]"}  # JAX derives the port from the number
TASK |= {"SLURM_NTASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}
TASK |= {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}


def test_slurm_determines_the_process(monkeypatch):
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    assert find_processes() == ProcessConfig(5, 8, "node003:65535", [1])
    assert find_processes(num_processes=1) is None
    assert find_processes(2, 1, "host:1") == ProcessConfig(1, 2, "host:1")
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert find_processes() is None


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [1]),
        ({"CUDA_VISIBLE_DEVICES": "3"}, [0]),  # as with --gpus-per-task=1
        ({"ROCR_VISIBLE_DEVICES": "3"}, [0]),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "SLURM_GPUS_PER_TASK": "a100:2"}, None),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_LOCALID": "3"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "4,1"}, None),  # the only task on its node uses all GPUs
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, None),
        ({"SLURM_STEP_TASKS_PER_NODE": "1,4"}, [1]),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}, [2]),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "0", "OMPI_COMM_WORLD_LOCAL_SIZE": "1"}, None),
    ],
)
def test_local_devices_follow_what_is_visible(variables, expected):
    assert choose_local_devices({**TASK, **variables}) == expected
