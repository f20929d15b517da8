"""What `fit` leaves as it is in the program that calls it."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest
from small_network import FLOATS, LABELS, SMALL_NETWORK

import aux_rnn
from aux_rnn.training.experiment import find_steps
from aux_rnn.training.sharding import CompiledStep

MAPPINGS, FILES = Path("/proc/self/maps"), Path("/proc/self/fd")


def global_state():
    return {
        "jax": dict(jax.config.values),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": {
            name: (logger.level, list(logger.handlers), list(logger.filters), logger.disabled)
            for name, logger in [("root", logging.root), *logging.root.manager.loggerDict.items()]
            if isinstance(logger, logging.Logger) and (logger.level or logger.handlers or logger.filters)
        },
        "process": {
            "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
            "streams": (sys.stdout, sys.stderr),
            "files": sorted(os.listdir()),
            "folder": os.getcwd(),
        },
        "environment": dict(os.environ),
        "numpy": {"random": np.random.get_state()[1].tolist()},
        "matplotlib": dict(matplotlib.rcParams),
    }


@pytest.mark.slow
def test_fit_changes_no_global_state_and_recompiles_no_function_of_the_caller(tmp_path, tmp_path_factory, monkeypatch):
    workdir = tmp_path_factory.mktemp("elsewhere")
    traces = []

    @jax.jit
    def function(x):
        traces.append(1)
        return x + 1

    function(1.0)
    matplotlib.use("svg")
    aux_rnn.fit  # noqa: B018 - imports the libraries, which have loggers of their own
    monkeypatch.chdir(tmp_path)
    before = global_state()
    aux_rnn.fit(FLOATS, LABELS, pretrain_epochs=0, workdir=workdir / "run", **SMALL_NETWORK)
    after = global_state()
    # A library that is imported for the first time may add a logger or a variable of its own.
    changed = [(part, name) for part in before for name in before[part] if after[part].get(name) != before[part][name]]
    assert changed == []
    function(2.0)
    assert len(traces) == 1


@pytest.mark.slow
def test_fits_in_threads_are_the_same_in_a_strict_program_with_a_running_event_loop(tmp_path):
    """One of the threads computes in 64 bits with strict promotion, and has an event loop; both write checkpoints."""

    def fit(name):
        settings = {**SMALL_NETWORK, "auxiliary": "none", "checkpoint_every_steps": 1, "pictures": False}
        fitted = aux_rnn.fit(FLOATS, LABELS, workdir=tmp_path / name, **settings)
        return fitted.logits(FLOATS), fitted.summary["params_digest"]

    async def fit_in_loop():
        strict = [(jax.enable_x64, True), (jax.numpy_dtype_promotion, "strict"), (jax.numpy_rank_promotion, "raise")]
        with contextlib.ExitStack() as stack:
            for setting, value in [*strict, (jax.debug_nans, True), (jax.default_prng_impl, "rbg")]:
                stack.enter_context(setting(value))
            return fit("strict")

    with ThreadPoolExecutor(2) as threads:
        plain, strict = threads.submit(fit, "plain"), threads.submit(lambda: asyncio.run(fit_in_loop()))
    assert plain.result()[1] == strict.result()[1]
    np.testing.assert_array_equal(plain.result()[0], strict.result()[0])


def test_a_fit_with_another_seed_compiles_nothing(monkeypatch):
    compiled = []
    lower = CompiledStep.lower
    monkeypatch.setattr(CompiledStep, "lower", lambda self, *args: compiled.append(1) or lower(self, *args))
    find_steps.cache_clear()
    counts = []
    for seed in range(2):
        aux_rnn.fit(FLOATS, LABELS, **{**SMALL_NETWORK, "auxiliary": "none"}, seed=seed)
        counts.append(len(compiled))
    assert 0 < counts[0] == counts[1]


@pytest.mark.slow
@pytest.mark.skipif(not MAPPINGS.exists(), reason="needs Linux")
def test_many_fits_leave_no_compiled_program_and_no_open_file_behind():
    counts = []
    for seed in range(8):
        find_steps.cache_clear()  # else the second fit would compile nothing
        aux_rnn.fit(FLOATS, LABELS, pretrain_epochs=1, seed=seed, **SMALL_NETWORK)
        gc.collect()
        counts.append((len(MAPPINGS.read_text().splitlines()), len(list(FILES.iterdir()))))
    mappings, files = zip(*counts[1:], strict=True)
    assert max(mappings) < mappings[0] + 100  # of more than 1,000 that the programs of one fit take
    assert max(files) == files[0]
