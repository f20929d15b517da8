"""The estimate of a step's memory, held against what XLA allocates, and what is refused by it."""

import jax
import numpy as np
import pytest

from aux_rnn import models
from aux_rnn import steps as steps_lib
from aux_rnn.config import ConfigError, SequenceSpec, from_flat
from aux_rnn.footprint import check_memory, count_parameters, count_step_bytes
from aux_rnn.memory import available_system_bytes
from aux_rnn.plan import Plan

PIXELS = SequenceSpec(length=240, channels=3, num_classes=10)
TOKENS = SequenceSpec(length=240, channels=1, num_classes=10, vocabulary_size=256)
# Large enough for what is kept to outweigh what is not counted.
SIZES = dict(embedding_size=8, hidden_size=64, head_sizes=(8,), decoder_sizes=(96, 96), decoder_head_sizes=(32,))
CUT = dict(segment_length=120, supervised_truncation=60, auxiliary_truncation=60, decoder_truncation=60, batch_size=64)
FULL = dict(supervised_truncation="full", auxiliary_truncation="full")


def measure_scratch(config, spec):
    plan = Plan(10, 0, 10, log_every=10, evaluate_every=10, checkpoint_every=10)
    state = steps_lib.replicate(steps_lib.create_train_state(config, spec, plan))
    size, devices = config.run.batch_size, jax.local_device_count()
    shape = (spec.length,) if spec.vocabulary_size else (spec.length, 1, spec.channels)
    batch = {"inputs": np.zeros((size, *shape), np.uint8), "labels": np.zeros(size, np.int32)}
    batch |= {"rows": np.arange(size, dtype=np.int32), "mask": np.ones(size, bool)}
    if spec.vocabulary_size:
        batch["lengths"] = np.full(size, spec.length, np.int32)
    compiled = steps_lib.make_steps(config, spec, plan).train.lower(state, steps_lib.shard(batch)).compile()
    return compiled.memory_analysis().temp_size_in_bytes * devices


@pytest.mark.parametrize(
    ("settings", "spec"),
    [
        (dict(auxiliary="reconstruct"), PIXELS),
        pytest.param(dict(auxiliary="both", num_anchors=2), PIXELS, marks=pytest.mark.slow),
        (dict(auxiliary="none", **FULL), PIXELS),
        pytest.param(dict(auxiliary="reconstruct", recurrence="scan"), PIXELS, marks=pytest.mark.slow),
        (dict(auxiliary="predict"), TOKENS),
        (dict(auxiliary="none", encoder="transformer", transformer_size=32), PIXELS),
    ],
)
def test_the_estimate_is_near_what_is_allocated(settings, spec):
    config = from_flat({**SIZES, **CUT, **settings})
    assert count_step_bytes(config, spec) == pytest.approx(measure_scratch(config, spec), rel=0.35)


def test_memory_does_not_grow_with_the_length_where_gradients_are_cut():
    """XLA's own figure, at 4 and 16 times the reach of a gradient; apart from the pixels themselves."""
    config = from_flat({**SIZES, **CUT, "auxiliary": "reconstruct"})
    short, long = (
        measure_scratch(config, spec) for spec in (PIXELS, SequenceSpec(length=960, channels=3, num_classes=10))
    )
    pixels = 4 * config.run.batch_size * (960 - 240) * 3
    assert long - short <= 2 * pixels


def test_a_step_that_does_not_fit_is_refused_with_the_estimate():
    spec = SequenceSpec(length=16_384, channels=3, num_classes=120)
    config = from_flat(dict(dataset="stanford_dogs", encoder="transformer", auxiliary="none"))
    check_memory(config, spec, None)
    check_memory(config, spec, 10**15)
    with pytest.raises(
        ConfigError, match=r"^--batch_size=128: must be at most 25, .* 16,384 elements .* GiB and there"
    ):
        check_memory(config, spec, count_step_bytes(config, spec) // 5)
    with pytest.raises(ConfigError, match="must be on shorter sequences"):
        check_memory(config, spec, 100_000_000)


@pytest.mark.parametrize(
    "settings",
    [
        dict(auxiliary="both", hidden_size=96),
        dict(auxiliary="reconstruct", encoder="gru"),
        dict(auxiliary="none", encoder="transformer", transformer_size=64),
    ],
)
@pytest.mark.parametrize("spec", [PIXELS, TOKENS])
def test_parameters_are_counted_as_they_are_made(settings, spec):
    config = from_flat({**SIZES, **CUT, **settings})
    plan = Plan(10, 0, 10, log_every=10, evaluate_every=10, checkpoint_every=10)
    made = jax.eval_shape(lambda: steps_lib.create_train_state(config, spec, plan).params)
    assert count_parameters(config, spec) == pytest.approx(models.count_parameters(made), rel=0.03)


@pytest.mark.parametrize("name", ["embedding_size", "hidden_size", "head_sizes", "decoder_sizes", "decoder_head_sizes"])
def test_sizes_whose_parameters_do_not_fit_are_refused_by_name(name):
    value = (4, 10**9) if name.endswith("sizes") else 10**9
    config = from_flat({**SIZES, **CUT, "supervised_truncation": 0, "auxiliary_truncation": 0, name: value})
    with pytest.raises(ConfigError, match=f"^--{name}=[0-9,]*: must be smaller: the parameters take about .* GiB and"):
        check_memory(config, PIXELS, 10**9)


def test_the_memory_that_there_is(tmp_path):
    meminfo, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    assert available_system_bytes(meminfo, limit) is None
    meminfo.write_text("MemTotal:  9 kB\nMemAvailable:  7 kB\n")
    assert available_system_bytes(meminfo, limit) == 7 * 1024
    limit.write_text("max\n")
    assert available_system_bytes(meminfo, limit) == 7 * 1024
    limit.write_text("5000\n")
    assert available_system_bytes(meminfo, limit) == 5000
