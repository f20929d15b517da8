"""Steps on batches from the host and on examples that the devices hold, one or several per dispatch."""

import dataclasses
import json
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest
from faulty import read_metrics

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import with_settings
from aux_rnn.datasets import TrainBatches
from aux_rnn.distributed import SINGLE_PROCESS
from aux_rnn.system.signals import StopRequest
from aux_rnn.training import compilation, dispatch
from aux_rnn.training.dispatch import Dispatcher
from aux_rnn.training.experiment import create_experiment
from aux_rnn.training.loop import Loop
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import replicate, shard
from aux_rnn.training.steps import create_train_state
from aux_rnn.training.train import train_and_evaluate

WAYS = {
    "host": dict(data_on_device="never"),
    "one": dict(data_on_device="always", steps_per_dispatch=1),
    "three": dict(data_on_device="always", steps_per_dispatch=3),
    "auto": dict(),
}


@pytest.fixture(scope="module")
def tiny(tiny):
    """Returns settings whose dispatches have up to five steps; one set of programs serves all tests here."""
    return with_settings(tiny, train_epochs=5, log_every_steps=5, checkpoint_every_steps=100, evaluate_every_epochs=4)


@pytest.fixture(scope="module")
def experiment(tiny):
    return create_experiment(tiny)


def make_dispatcher(experiment, processes=SINGLE_PROCESS, **settings):
    config = with_settings(experiment.config, **settings)
    return Dispatcher(config, experiment.steps, experiment.splits.train, processes)


def initial_state(experiment):
    return replicate(create_train_state(experiment.config, experiment.spec, experiment.plan))


@pytest.mark.parametrize(
    ("way", "phase"), [("host", "pretrain"), ("one", "train"), ("three", "pretrain"), ("auto", "train")]
)
def test_every_way_equals_single_steps_on_the_batches(experiment, way, phase):
    batches = TrainBatches(experiment.splits.train, 8, experiment.config.run.seed)
    expected, every_row = initial_state(experiment), {"rows": batches.places(), "mask": np.ones(8, bool)}
    for step in range(7):
        expected = getattr(experiment.steps, phase)(expected, shard({**batches[step], **every_row}))
    dispatcher, state, step = make_dispatcher(experiment, **WAYS[way]), initial_state(experiment), 0
    while step < 7:
        prepared = dispatcher.prepare(step, 7 - step)
        state, step = dispatcher.start(phase, state, prepared), step + prepared.count
    assert step == 7
    chex.assert_trees_all_close(jax.device_get(state), jax.device_get(expected), rtol=1e-5, atol=1e-6)


def remove_texts(record):
    return {name: value for name, value in record.items() if not isinstance(value, str)}


def test_runs_are_equal_bit_by_bit_for_any_number_of_steps_per_dispatch_and_else_up_to_rounding(tiny, quiet, tmp_path):
    digests, records, checkpoints = {}, {}, {}
    for way, settings in WAYS.items():
        digests[way] = train_and_evaluate(with_settings(tiny, **settings), tmp_path / way, quiet)["params_digest"]
        records[way] = read_metrics(tmp_path / way)
        checkpoints[way] = sorted(each.name for each in (tmp_path / way / "checkpoints").iterdir())
    assert digests["one"] == digests["three"] == digests["auto"]
    assert records["one"] == records["three"] == records["auto"]
    by_way = [[remove_texts(record) for record in records[way]] for way in ("host", "auto")]
    chex.assert_trees_all_close(*by_way, rtol=1e-4, atol=1e-6)
    assert len(set(map(tuple, checkpoints.values()))) == 1


def test_a_run_may_continue_in_another_way(tiny, quiet, tmp_path, monkeypatch):
    whole = train_and_evaluate(with_settings(tiny, **WAYS["one"]), tmp_path / "whole", quiet)
    evaluate, stop = Loop.evaluate, StopRequest()
    monkeypatch.setattr(Loop, "evaluate", lambda *args: evaluate(*args) or setattr(stop, "signal_name", "SIGTERM"))
    first = train_and_evaluate(with_settings(tiny, **WAYS["one"]), tmp_path / "run", quiet, stop=stop)
    assert (first["status"], first["steps"]) == ("interrupted", 3)
    monkeypatch.setattr(Loop, "evaluate", evaluate)
    ended = train_and_evaluate(with_settings(tiny, **WAYS["three"]), tmp_path / "run", quiet)
    assert (ended["status"], ended["params_digest"]) == ("complete", whole["params_digest"])
    assert json.loads((tmp_path / "run/config.json").read_text())["steps_per_dispatch"] == 3


def test_a_dispatch_ends_where_the_run_has_something_to_do():
    plan = Plan(10, pretrain_steps=13, train_steps=10, log_every=4, evaluate_every=10, checkpoint_every=7)
    assert [step for step in range(1, 24) if plan.should_log(step)] == [4, 8, 12, 13, 16, 20, 23]
    assert [step for step in range(1, 24) if plan.should_evaluate(step)] == [10, 13, 20, 23]
    assert [step for step in range(1, 24) if plan.should_checkpoint(step)] == [7, 14, 21, 23]
    assert plan.count_evaluations() == 4
    long = dataclasses.replace(plan, pretrain_steps=0, train_steps=2 * 10**9)
    assert long.count_evaluations() == 2 * 10**8, "without a loop over all steps"
    due = [4, 7, 8, 10, 12, 13, 14, 16, 20, 21, 23]
    for step in range(23):
        assert step + plan.steps_until_due(step) == min(later for later in due if later > step)


def test_the_steps_of_a_dispatch_take_a_tenth_of_a_second_unless_they_are_given(experiment):
    adaptive, fixed = (make_dispatcher(experiment, **WAYS[way]) for way in ("auto", "three"))
    counts = []
    for steps_per_second in (0, 5, 250, 10**6, 40):
        adaptive.adapt(steps_per_second)
        fixed.adapt(steps_per_second)
        counts.append((adaptive.prepare(0, 100).count, fixed.prepare(0, 100).count))
    assert counts == [(1, 3), (1, 3), (25, 3), (64, 3), (4, 3)]
    assert adaptive.prepare(0, 2).count == 2


def test_process_0_chooses_for_all(experiment):
    second = SimpleNamespace(index=1, count=2, broadcast=lambda value: 5)  # the first has chosen five steps
    dispatcher = make_dispatcher(experiment, second)
    dispatcher.adapt(1000)
    assert dispatcher.prepare(0, 100).count == 5


def test_examples_stay_on_the_host_where_they_take_too_much_memory(experiment, monkeypatch):
    padded = dispatch.pad_examples(TrainBatches(experiment.splits.train, 8, 0))
    size = jax.local_device_count() * sum(values.nbytes for values in padded.values())  # the devices share a memory
    for limit, most in ((size, 3), (size - 1, 1)):
        monkeypatch.setattr(dispatch, "MAX_BYTES", limit)
        assert make_dispatcher(experiment, steps_per_dispatch=3).prepare(0, 100).count == most
    monkeypatch.setattr(compilation, "available_bytes", lambda: size)
    assert make_dispatcher(experiment, **WAYS["three"]).prepare(0, 100).count == 3
    monkeypatch.setattr(compilation, "available_bytes", lambda: size - 1)
    with pytest.raises(ConfigError, match=r"^data_on_device=always: must be never: the examples need .* GiB"):
        make_dispatcher(experiment, **WAYS["three"])
