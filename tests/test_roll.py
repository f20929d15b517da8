"""The roll call, with threads as processes."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from aux_rnn import joining
from aux_rnn.connections import Connection
from aux_rnn.joining import find_place, join
from aux_rnn.processes import ALONE, ProcessError
from aux_rnn.roll import Place, call_roll, free_port_beside, report_to_roll
from aux_rnn.settings import ConfigError


@pytest.fixture
def address():
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
    return f"127.0.0.1:{port}"


def call(address, indices, count, seconds=10.0):
    """What becomes of the processes with these numbers, all started at once."""

    def start(index):
        place = Place(index, count, address)
        try:
            return (call_roll if index == 0 else report_to_roll)(place, seconds)
        except ProcessError as error:
            return str(error)

    with ThreadPoolExecutor(len(indices)) as pool:
        return list(pool.map(start, indices))


def test_all_who_are_there_learn_where_jax_is(address):
    (connections, jax), *others = call(address, [0, 1, 2], 3)
    assert set(connections) == {1, 2}
    assert [set(mine) for mine, _ in others] == [{0}, {0}]
    assert {where for _, where in others} == {jax}
    host, port = jax.split(":")
    assert (host, jax != address, int(port) > 0) == ("127.0.0.1", True, True)


def test_the_others_may_come_before_process_0(address):
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(call, address, [1], 2)
        time.sleep(0.3)
        (connections, jax), *_ = call(address, [0], 2)
        assert set(connections) == {1}
        assert early.result()[0][1] == jax


def test_a_missing_process_is_named_to_all_with_the_counts(address):
    lines = call(address, [0, 2], 4, seconds=0.5)
    assert lines == ["4 processes expected, 2 seen within 0 seconds; missing: 1, 3; start all of them"] * 2


def test_without_process_0_the_others_say_where_they_waited(address):
    (line,) = call(address, [1], 2, seconds=0.3)
    assert line.startswith(f"--coordinator_address={address}: process 0 does not answer there")
    assert "2 processes expected, 1 seen" in line


def test_a_second_process_with_a_number_is_refused_and_the_run_begins(address):
    first, *others = call(address, [0, 1, 1, 2], 3)
    assert set(first[0]) == {1, 2}
    refused = [line for line in others if isinstance(line, str)]
    assert len(refused) == 1
    assert refused[0].startswith("--process_id=1: is there already (3 processes expected, ")


def test_who_comes_too_late_is_refused_with_the_counts(address):
    (connections, _), _ = call(address, [0, 1], 2)
    assert call(address, [1], 2) == ["--process_id=1: is there already (2 processes expected, 3 seen with this one)"]
    assert len(connections) == 1


def test_another_number_of_processes_is_refused(address):
    with ThreadPoolExecutor(1) as pool:
        main = pool.submit(call, address, [0], 2)
        (line,) = call(address, [2], 3)
        assert line == "--num_processes=3: process 0 expects 2 processes; give all the same number"
        call(address, [1], 2)
        assert set(main.result()[0][0]) == {1}


def test_strangers_do_not_disturb_the_roll(address):
    with ThreadPoolExecutor(1) as pool:
        main = pool.submit(call, address, [0], 2)
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"{}\n[]\n", b'{"process": "x", "processes": 2}\n', b""):
            stream = connect(address)
            stream.sendall(words)
            stream.close()
        call(address, [1], 2)
        assert set(main.result()[0][0]) == {1}


def connect(address):
    host, port = address.split(":")
    for _ in range(100):
        try:
            return socket.create_connection((host, int(port)))
        except OSError:
            time.sleep(0.05)
    raise AssertionError("nobody listens")


def test_an_address_that_is_taken_is_refused(address):
    port = int(address.split(":")[1])
    with socket.create_server(("", port)):
        (line,) = call(address, [0], 2)
        assert (
            line
            == f"--coordinator_address={address}: the port cannot be listened at (Address already in use); name another"
        )
        assert free_port_beside(port - 1) != port


def test_a_stranger_in_place_of_process_0_is_noticed(address):
    with socket.create_server(("", int(address.split(":")[1]))) as listener, ThreadPoolExecutor(1) as pool:
        reporting = pool.submit(call, address, [1], 2)
        stream, _ = listener.accept()
        Connection(stream).send({"hello": "who is it"})
        assert reporting.result() == [f"{address}: is no process of a run"]


def test_one_process_needs_no_others():
    assert find_place() is None
    assert find_place(num_processes=1) is None
    assert join(None, on_loss=lambda line, code: None) is ALONE


def test_the_flags_give_a_place():
    assert find_place(4, 3, "10.0.0.1:1234") == Place(3, 4, "10.0.0.1:1234")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((2, -1, "host:1"), "all three must be given"),
        ((2, 0, ""), "all three must be given"),
        ((0, 0, "host:1"), "all three must be given"),
        ((2, 2, "host:1"), "--process_id=2: must be from 0 to 1 with --num_processes=2"),
        ((2, 0, "host"), "--coordinator_address=host: must be HOST:PORT"),
        ((2, 0, "host:"), "--coordinator_address=host:: must be HOST:PORT"),
        ((2, 0, ":99"), "--coordinator_address=:99: must be HOST:PORT"),
        ((2, 0, "host:99999"), "--coordinator_address=host:99999: must be HOST:PORT, the port from 1 to 65535"),
        ((2, 0, "host:٣"), "must be HOST:PORT"),
    ],
)
def test_flags_that_say_too_little_or_contradict_each_other(flags, message):
    with pytest.raises(ConfigError, match=message):
        find_place(*flags)


def test_slurm_says_which_process_this_is(monkeypatch):
    job = dict(
        JOB_ID="70", STEP_NODELIST="node[003-006],other", NTASKS="8", PROCID="5", LOCALID="1", STEP_NUM_NODES="4"
    )
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    place = find_place()
    assert (place.index, place.count, place.local_devices) == (5, 8, [1])
    assert place.address.startswith("node003:")
    assert find_place(num_processes=1) is None
    assert find_place(2, 1, "host:1") == Place(1, 2, "host:1")


def test_a_job_of_one_task_is_one_process(monkeypatch):
    for name, value in dict(JOB_ID="70", STEP_NODELIST="node1", NTASKS="1", PROCID="0", LOCALID="0").items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert find_place() is None


def test_jax_is_started_where_process_0_says(monkeypatch, address):
    started = []
    monkeypatch.setattr(joining.jax.distributed, "initialize", lambda *a, **k: started.append(a[:4]))
    monkeypatch.setattr(joining.jax.config, "update", lambda name, value: None)
    with ThreadPoolExecutor(2) as pool:
        teams = list(pool.map(lambda index: join(Place(index, 2, address), lambda line, code: None), (0, 1)))
        assert list(pool.map(lambda team: team.gather(team.index), teams)) == [[0, 1]] * 2
        list(pool.map(lambda team: team.close(), teams))
    assert sorted(a[1:] for a in started) == [(2, 0, None), (2, 1, None)]
    assert len({a[0] for a in started}) == 1
