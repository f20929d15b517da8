"""What `fit` leaves as it is in the program that calls it."""

import gc
import logging
import os
import signal
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest

import aux_rnn

MAPPINGS, FILES = Path("/proc/self/maps"), Path("/proc/self/fd")
LABELS = np.arange(24) % 3
FLOATS = np.random.default_rng(0).random((24, 6, 2))
SMALL = dict(
    segment_length=3,
    embedding_size=3,
    hidden_size=4,
    head_sizes=(4,),
    decoder_sizes=(4,),
    decoder_head_sizes=(4,),
    supervised_truncation=3,
    auxiliary_truncation=2,
    batch_size=8,
    train_epochs=1,
)


def global_state():
    return {
        "jax": dict(jax.config.values),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "logging": (logging.root.level, list(logging.root.handlers)),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "numpy": np.random.get_state()[1].tolist(),
        "matplotlib": dict(matplotlib.rcParams),
    }


def test_fit_changes_no_global_state_and_recompiles_no_function_of_the_caller(tmp_path):
    traces = []

    @jax.jit
    def function(x):
        traces.append(1)
        return x + 1

    function(1.0)
    matplotlib.use("svg")
    before = global_state()
    aux_rnn.fit(FLOATS, LABELS, pretrain_epochs=0, workdir=tmp_path / "run", **SMALL)
    after = global_state()
    assert {name for name in before if before[name] != after[name]} == set()
    function(2.0)
    assert len(traces) == 1


@pytest.mark.slow
@pytest.mark.skipif(not MAPPINGS.exists(), reason="needs Linux")
def test_many_fits_leave_no_compiled_program_and_no_open_file_behind():
    counts = []
    for seed in range(8):
        aux_rnn.fit(FLOATS, LABELS, pretrain_epochs=1, seed=seed, **{**SMALL, "hidden_size": 4 + seed})
        gc.collect()
        counts.append((len(MAPPINGS.read_text().splitlines()), len(list(FILES.iterdir()))))
    mappings, files = zip(*counts[1:], strict=True)
    assert max(mappings) < mappings[0] + 100  # of more than 1,000 that the programs of one fit take
    assert max(files) == files[0]
