"""What XLA says a step needs, and runs that are refused because of it."""

import functools
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import from_flat
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Examples
from aux_rnn.distributed import SINGLE_PROCESS
from aux_rnn.system.memory import available_system_bytes
from aux_rnn.training import compilation
from aux_rnn.training.dispatch import Dispatcher
from aux_rnn.training.plan import Plan
from aux_rnn.training.steps import make_steps

SPEC = SequenceSpec(length=240, channels=3, num_classes=10)
PLAN = Plan(10, 0, 10, log_every=10, evaluate_every=10, checkpoint_every=10)
SIZES = dict(embedding_size=8, hidden_size=64, head_sizes=(8,), decoder_sizes=(32,), decoder_head_sizes=(32,))
TRUNCATIONS = dict(supervised_truncation=60, auxiliary_truncation=60, decoder_truncation=60)
SETTINGS = SIZES | TRUNCATIONS | dict(segment_length=120, batch_size=64)


# Two processes alike on this machine.
TWO = SimpleNamespace(index=0, all_gather=lambda value: [value, value], run_on_all=lambda action: action())
find_steps = functools.cache(make_steps)


def compile_on(spec, **settings):
    config = from_flat({**SETTINGS, **settings})
    size = config.run.batch_size
    examples = Examples(np.zeros((size, spec.length, 1, spec.channels), np.uint8), np.zeros(size, np.int32))
    dispatcher = Dispatcher(config, find_steps(config, spec, PLAN), examples, SINGLE_PROCESS)
    phases = dispatcher.compile(spec, PLAN)
    return phases["train"].step_bytes * jax.local_device_count()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_where_gradients_are_truncated():
    """At 4 and 16 times the reach of a gradient; apart from the pixels themselves."""
    short, long = (compile_on(SequenceSpec(length=length, channels=3, num_classes=10)) for length in (240, 960))
    assert long - short <= 2 * 4 * SETTINGS["batch_size"] * (960 - 240) * 3


def test_a_step_that_does_not_fit_is_refused_with_both_figures(monkeypatch):
    small = dict(auxiliary="none", hidden_size=8, supervised_truncation=5)
    needed = compile_on(SPEC, **small)
    assert needed > 0
    monkeypatch.setattr(compilation, "available_bytes", lambda: int(1.5 * needed) + 2**22)
    compile_on(SPEC, **small)
    monkeypatch.setattr(compilation, "available_bytes", lambda: needed)
    for where, remedy in (("always", ", or data_on_device=never"), ("never", "")):
        message = f"^batch_size=64: must be smaller, or [a-z ]*{remedy}: a training step needs .* GiB and"
        with pytest.raises(ConfigError, match=message):
            compile_on(SPEC, **small, data_on_device=where)


def test_processes_on_one_machine_share_its_memory(monkeypatch):
    monkeypatch.setattr(compilation, "available_bytes", lambda: 3 * jax.local_device_count())
    compilation.require_memory(3, ("batch_size", 8, "smaller"), "a step needs", SINGLE_PROCESS)
    with pytest.raises(ConfigError, match=r"^batch_size=8: "):
        compilation.require_memory(3, ("batch_size", 8, "smaller"), "a step needs", TWO)
    monkeypatch.setattr(compilation, "available_bytes", lambda: None)
    compilation.require_memory(10**20, ("batch_size", 8, "smaller"), "a step needs", TWO)


def test_the_memory_that_is_available(tmp_path):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    assert available_system_bytes(meminfo, limit) is None
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:  7 kB\n")
    assert available_system_bytes(meminfo, limit) == 7 * 1024
    limit.write_text("max\n")
    assert available_system_bytes(meminfo, limit) == 7 * 1024
    limit.write_text("5000\n")
    assert available_system_bytes(meminfo, limit) == 5000
