"""What processes tell each other, with threads in their place and sockets between them."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from aux_rnn.connections import Connection, ConnectionLost
from aux_rnn.processes import ALONE, ProcessError, Team

BEAT = 1.0  # long enough for ten of them to pass on no machine, however busy
SHORT_BEAT = 0.1


def connect_pair():
    """Two ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


class Three:
    """Three connected processes, and what each was told of losses."""

    def __init__(self, beat):
        self.beat = beat
        self.losses = [[], [], []]
        self.lost = [threading.Event() for _ in range(3)]
        pairs = {index: connect_pair() for index in (1, 2)}
        self.sockets = {index: pair[1] for index, pair in pairs.items()}
        hub = {index: Connection(pair[0], beat) for index, pair in pairs.items()}
        self.teams = [self.make(0, hub)]
        self.teams += [self.make(index, {0: Connection(pair[1], beat)}) for index, pair in pairs.items()]

    def make(self, index, connections):
        def note(line, code):
            self.losses[index].append((line, code))
            self.lost[index].set()

        return Team(index, 3, connections, note, self.beat)

    def each(self, work):
        """The results of `work(team)` in all three at once; an exception counts as a result."""

        def attempt(team):
            try:
                return work(team)
            except Exception as error:
                return error

        with ThreadPoolExecutor(3) as pool:
            return list(pool.map(attempt, self.teams))

    def wait_for_loss(self, *indices):
        assert all(self.lost[index].wait(10) for index in indices)
        return [self.losses[index] for index in indices]

    def close(self):
        for team in self.teams:
            team._leaving.set()
        for stream in self.sockets.values():
            stream.close()


@pytest.fixture
def three(request):
    made = Three(getattr(request, "param", BEAT))
    yield made
    made.close()


def test_all_hear_what_each_hands_in(three):
    assert three.each(lambda team: team.gather({"index": team.index})) == [[{"index": i} for i in range(3)]] * 3
    assert three.each(lambda team: team.share(team.index + 5)) == [5, 5, 5]
    assert three.each(lambda team: [team.gather(n) for n in range(50)]) == [[[n] * 3 for n in range(50)]] * 3


def test_alone_one_hears_oneself():
    assert (ALONE.index, ALONE.count, ALONE.is_main) == (0, 1, True)
    assert ALONE.gather("x") == ["x"]
    assert ALONE.share("x") == "x"
    assert ALONE.main_first(lambda: 3) == 3
    with pytest.raises(OSError, match="full"):
        ALONE.attempt(lambda: raise_error(OSError("full")))
    ALONE.fail("nobody hears")
    ALONE.close()


def raise_error(error):
    raise error


def test_what_fails_in_one_fails_in_all_with_its_name(three):
    def work(team):
        return team.attempt(lambda: raise_error(ValueError("no room")) if team.index == 1 else team.index)

    first, second, third = three.each(work)
    assert isinstance(second, ValueError)
    for error in (first, third):
        assert isinstance(error, ProcessError)
        assert str(error) == "process 1 of 3: no room"
    assert three.each(lambda team: team.attempt(lambda: team.index)) == [0, 1, 2]  # and they go on


def test_what_fails_in_all_is_for_process_0_to_report(three):
    errors = three.each(lambda team: team.attempt(lambda: raise_error(ValueError("no such setting"))))
    assert [type(error) for error in errors] == [ValueError, ProcessError, ProcessError]


def test_process_0_goes_first_where_the_others_may_find_the_work_done(three):
    order = []
    three.each(lambda team: team.main_first(lambda: order.append(team.index)))
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]


def test_if_process_0_fails_the_others_do_not_begin(three):
    begun = []

    def work(team):
        begun.append(team.index)
        raise ValueError("damaged")

    errors = three.each(lambda team: team.main_first(lambda: work(team)))
    assert begun == [0]
    assert [str(error) for error in errors] == ["damaged", "process 0 of 3: damaged", "process 0 of 3: damaged"]


def test_a_process_that_dies_is_noticed_by_all(three):
    three.teams[1]._leaving.set()
    three.sockets[1].shutdown(socket.SHUT_RDWR)
    for losses in three.wait_for_loss(0, 2):
        assert losses == [("process 1 of 3 is gone", 1)]
    with pytest.raises(ProcessError, match="process 1 of 3 is gone"):
        three.teams[2].gather(None)


def test_a_process_that_waits_hears_of_the_loss(three):
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(three.teams[0].gather, None)
        three.teams[2].fail("disk full", 1)
        with pytest.raises(ProcessError, match="process 2 of 3: disk full"):
            waiting.result(10)


@pytest.mark.parametrize("three", [SHORT_BEAT], indirect=True)
def test_a_process_that_is_silent_is_noticed(three):
    three.teams[2]._leaving.set()  # which ends its beats, while its connection stays
    for losses in three.wait_for_loss(0, 1):
        assert losses == [("process 2 of 3 has not answered for 1 seconds", 1)]


def test_a_process_that_fails_says_why_and_with_what_code_to_end(three):
    three.teams[2].fail("interrupted", 75)
    for losses in three.wait_for_loss(0, 1):
        assert losses == [("process 2 of 3: interrupted", 75)]
    assert three.losses[2] == []


def test_who_takes_leave_with_the_others_is_no_loss(three):
    three.each(lambda team: team.close())
    three.sockets[1].shutdown(socket.SHUT_RDWR)
    assert not any(event.wait(0.2) for event in three.lost)


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\n", b"[1]\n", b"\xff\xfe\n", b"x" * (1 << 21)])
def test_who_does_not_speak_as_a_process_is_none(words):
    here, there = connect_pair()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(there.sendall, words)
        with pytest.raises(ConnectionLost, match="is no process of a run"):
            Connection(here, BEAT).receive()
        here.close()
