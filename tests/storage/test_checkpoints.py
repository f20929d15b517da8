"""Checkpoints: the right ones are kept, intact ones are read with the right values, others get one line."""

import chex
import numpy as np
import pytest
from absl import logging
from flax.struct import PyTreeNode
from official import flip_a_bit

from aux_rnn.model.metrics import Mean
from aux_rnn.storage.checkpoints import (
    CheckpointError,
    CheckpointWriter,
    digest,
    list_steps,
    read_checkpoint,
    read_latest,
)


class State(PyTreeNode):
    """Like a `TrainState`, but small."""

    step: np.ndarray
    params: dict
    metrics: dict


def make_state(step, names=("loss",)):
    params = {"kernel": np.linspace(-step, step, 600, dtype=np.float32).reshape(30, 20), "bias": np.zeros(7)}
    metrics = {name: Mean(np.float32(step / 3), np.float32(step)) for name in names}
    return State(np.asarray(step, np.int32), params, metrics)


STATES = {step: make_state(step) for step in (1, 2, 3)}
METAS = {step: {"seconds": {"train": 1.5 * step}, "results": {"test": {"loss": float("inf")}}} for step in STATES}


def save_all(folder, states=STATES, best=None):
    """Saves states by step; `best` names the best step after each of them."""
    writer = CheckpointWriter(folder)
    for step, state in states.items():
        writer.save(step, state, METAS.get(step, {}), best and best[step])
    writer.close()
    return folder


def damage(folder):
    """Flips one bit in every file of array data of a checkpoint, which Orbax does not notice."""
    files = [file for file in folder.glob("state/**/d/*") if file.is_file()]
    assert files
    for file in files:
        flip_a_bit(file)


def test_the_newest_three_and_the_best_are_kept(tmp_path):
    states = {step: make_state(step) for step in range(1, 9)}
    best = {1: 1, 2: 1, 3: 3, 4: 3, 5: 3, 6: 3, 7: 3, 8: 8}
    assert list_steps(save_all(tmp_path / "a", dict(list(states.items())[:-1]), best)) == [7, 6, 5, 3]
    assert list_steps(save_all(tmp_path / "b", states, best)) == [8, 7, 6]
    # A second writer knows nothing of the best step but what it is told with each save.
    save_all(tmp_path / "a", {8: states[8]}, {8: 3})
    assert list_steps(tmp_path / "a") == [8, 7, 6, 3]
    # A run that continues before damaged checkpoints keeps what it saves.
    save_all(tmp_path / "a", {5: states[5]}, {5: 3})
    assert list_steps(tmp_path / "a") == [8, 7, 5, 3]


def test_a_checkpoint_is_read_as_it_was_saved_and_replaced_by_one_of_the_same_step(tmp_path):
    folder = save_all(tmp_path / "checkpoints")
    chex.assert_trees_all_equal(read_checkpoint(folder, 2, STATES[1]).state, STATES[2])
    assert read_latest(folder, STATES[1]).meta == METAS[3]
    save_all(folder, {3: STATES[2]})
    chex.assert_trees_all_equal(read_latest(folder, STATES[1]).state, STATES[2])
    assert list_steps(folder) == [3, 2, 1]


def test_a_metric_may_be_added_or_removed_between_two_starts(tmp_path):
    folder = save_all(tmp_path / "checkpoints", {5: make_state(5, names=("loss", "accuracy"))})
    like = make_state(0, names=("accuracy", "top5"))
    state = read_latest(folder, like).state
    assert state.metrics == {"accuracy": Mean(np.float32(5 / 3), np.float32(5)), "top5": like.metrics["top5"]}
    chex.assert_trees_all_equal(state.params, make_state(5).params)


def test_a_damaged_checkpoint_is_passed_over_with_one_warning_or_refused_by_its_step(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(logging, "warning", lambda text, *arguments: lines.append(text % arguments))
    folder = save_all(tmp_path / "checkpoints")
    damage(folder / "3")
    chex.assert_trees_all_equal(read_latest(folder, STATES[1]).state, STATES[2])
    (line,) = lines
    assert line.startswith(f"checkpoint 3 in {folder} cannot be used (")
    assert line.endswith("; 2 is used instead")
    with pytest.raises(CheckpointError, match=r"checkpoints/3: cannot be used \(.+\); choose another checkpoint"):
        read_checkpoint(folder, 3, STATES[1])
    assert list_steps(folder) == [3, 2, 1], "only looked at"
    save_all(folder, {3: STATES[3]})
    chex.assert_trees_all_equal(read_latest(folder, STATES[1]).state, STATES[3])
    assert len(lines) == 1


def test_without_an_intact_checkpoint_there_is_an_error_and_no_fresh_start(tmp_path):
    assert read_latest(tmp_path / "checkpoints", STATES[1]) is None
    folder = save_all(tmp_path / "checkpoints")
    for step in STATES:
        damage(folder / str(step))
    with pytest.raises(CheckpointError, match=r"none of the checkpoints \[3, 2, 1\] is intact \(3: "):
        read_latest(folder, STATES[1])
    assert list_steps(folder) == [3, 2, 1]


def test_the_digest_depends_on_values_names_shapes_and_types():
    base = {"a": np.zeros(4, np.float32), "b": np.ones(2, np.float32)}
    others = [
        {**base, "a": np.array([0, 0, 0, 1e-30], np.float32)},
        {**base, "a": np.zeros((2, 2), np.float32)},
        {**base, "a": np.zeros(4, np.int32)},
        {"c": base["a"], "b": base["b"]},
    ]
    assert len({digest(tree) for tree in [base, *others]}) == 5
    assert digest(dict(reversed(base.items()))) == digest(base)
