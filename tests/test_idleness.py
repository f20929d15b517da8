"""Time in which devices have nothing to do."""

import jax.numpy as jnp
import pytest

from aux_rnn.clock import Clock
from aux_rnn.idleness import Idleness


class Array:
    """An array that is computed, or not yet."""

    def __init__(self, is_there):
        self._is_there = is_there

    def is_ready(self):
        return self._is_there


@pytest.mark.parametrize(("last", "expected"), [(None, 7.0), (Array(True), 7.0), (Array(False), 5.0)])
def test_time_counts_unless_earlier_work_still_keeps_the_devices_busy(last, expected):
    now = iter([0.0, 10.0, 12.0])
    idleness = Idleness(5.0, now=lambda: next(now))
    idleness.begin()
    idleness.end(last)
    assert idleness.seconds == expected


def test_a_computed_array_is_known_as_such():
    idleness = Idleness()
    idleness.end(jnp.ones(2).block_until_ready())
    assert idleness.seconds > 0


def test_a_part_of_a_section_adds_time_and_no_entry():
    now = iter([0.0, 2.0, 2.0, 5.0])
    clock = Clock(now=lambda: next(now))
    with clock.section("train", entries=0):
        pass
    with clock.section("train"):
        pass
    assert (clock.seconds["train"], clock.entries["train"], clock.mean("train")) == (5.0, 1, 5.0)
