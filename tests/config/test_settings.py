"""Settings: checked when they are built, written and read without loss."""

from pathlib import Path

import numpy as np
import pytest

from aux_rnn.config import serialization
from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import Config, ModelConfig
from aux_rnn.config.spec import SequenceSpec, check_segment


def test_the_defaults_are_the_papers():
    model = Config().model
    assert (model.embedding_size, model.hidden_size, model.segment_length, model.num_anchors) == (128, 128, 600, 1)
    assert model.head_sizes == model.decoder_sizes == model.decoder_head_sizes == (256, 256)
    assert model.supervised_truncation == model.auxiliary_truncation == model.decoder_truncation == 300


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("hidden_size", np.int64(8), 8),
        ("seed", np.uint32(7), 7),
        ("learning_rate", np.float32(0.5), 0.5),
        ("teacher_forcing", np.bool_(False), False),
        ("encoder", np.str_("gru"), "gru"),
        ("head_sizes", np.array([4, 3]), (4, 3)),
        ("decoder_sizes", [np.int64(4), 3], (4, 3)),
        ("supervised_truncation", np.array(5), 5),
        ("data_dir", Path("/data"), "/data"),
    ],
)
def test_values_of_numpy_lists_and_paths_are_taken_as_what_they_stand_for(name, value, expected):
    kept = serialization.to_flat(serialization.from_flat({name: value}))[name]
    assert kept == expected
    assert type(kept) is type(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(batch_size=True), "batch_size=true: must be an integer from 1 to 2147483647"),
        (dict(hidden_size=np.int64(0)), "hidden_size=0: must be an integer from 1 to 2147483647"),
        (dict(batch_size=1.5), "batch_size=1.5: must be an integer from 1 to 2147483647"),
        (dict(learning_rate=0), "learning_rate=0: must be a number above 0"),
        (dict(learning_rate=float("inf")), "learning_rate=inf: must be a number above 0"),
        (dict(dropconnect=1.0), "dropconnect=1.0: must be a number from 0 to below 1"),
        (dict(decoder_sizes=()), "decoder_sizes=: must be positive integers separated by commas"),
        (dict(decoder_sizes=(4, 0)), "decoder_sizes=4,0: must be positive integers separated by commas"),
        (dict(supervised_truncation="all"), "supervised_truncation=all: must be an integer from 0 to 2147483647"),
        (dict(teacher_forcing=1), "teacher_forcing=1: must be true or false"),
        (dict(auxiliary="all"), "auxiliary=all: must be one of none, reconstruct, predict, both"),
        (dict(colour="red"), "colour: no such setting; the settings are"),
        (dict(segmentlength=3), "segmentlength: no such setting; did you mean segment_length?"),
        (dict(auxiliary="none", train_epochs=0), "train_epochs=0: must be at least 1"),
    ],
)
def test_values_that_are_not_allowed_are_named(settings, message):
    with pytest.raises(ConfigError) as caught:
        serialization.from_flat(settings)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("auxiliary", "longest"), [("reconstruct", 784), ("predict", 783), ("both", 783)])
def test_the_segment_must_fit_into_the_sequence(auxiliary, longest):
    spec = SequenceSpec(length=784, channels=1, num_classes=10)
    check_segment(ModelConfig(auxiliary="none", segment_length=10**6), spec)
    check_segment(ModelConfig(auxiliary=auxiliary, segment_length=longest), spec)
    with pytest.raises(ConfigError, match=f"segment_length={longest + 1}: must be at most {longest}"):
        check_segment(ModelConfig(auxiliary=auxiliary, segment_length=longest + 1), spec)
