"""Settings that were never meant to work: each is taken, or refused in one line that names it.

`tests/properties.py` says how to run these tests with more examples.
"""

import json
import tempfile
from pathlib import Path

from absl import flags
from cli import command_line
from hypothesis import assume, example, given
from hypothesis import strategies as st
from properties import assert_one_line, examples

from aux_rnn.config import serialization
from aux_rnn.config.fields import LARGEST, ConfigError, Count, Truncation, format_value
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec, check_devices, check_segment
from aux_rnn.datasets import dataset_names, sequence_spec, split_sizes
from aux_rnn.model.flops import count_training_step
from aux_rnn.training.plan import Plan
from experiments import main

assert main  # which defines the flags
FIELDS = {field.name: field for _, field in serialization.iterate_settings()}
FLAGS = [*FIELDS, "mode", "workdir", "cpu_devices"]
HUGE = [2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**9, 10**18, 10**400]
INTEGERS = st.one_of(st.integers(), st.sampled_from([sign * value for value in HUGE for sign in (1, -1)]))
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
# With surrogates, which stand for bytes of a command line that are not UTF-8.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)
PLAIN = (
    "nan inf -inf 1e999 full True 1_0 ٣ +1 0x10 1,2, 1,2,3 , - -- 0.5 ../../x / gs://a/x tfds: tfds:../x ~nobody digits"
)
SPECIAL = ("", " 1 ", "\0", "a\0b", "~\0", "\n", "1\n2", "tfds:a\nb", "\x1b[2J", "\udcff", "\ud800", "\u2028", "\u202e")
LONG = ("x" * 100_000, "9" * 5_000, "9" * 100_000, "😀" * 500)
NASTY = st.sampled_from([*PLAIN.split(), *SPECIAL, *LONG])
VALUES = st.one_of(TEXTS, NASTY, INTEGERS.map(str), FLOATS.map(repr))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), INTEGERS, FLOATS, TEXTS, NASTY),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


def parse(*words):
    """The configuration of a command line, without what earlier ones left in the flags."""
    flags.FLAGS.unparse_flags()
    for name in FLAGS:
        flags.FLAGS[name].unparse()
    try:
        command_line.parse(["main.py", *words])
        return command_line.config_from_flags()
    finally:
        flags.FLAGS.mark_as_parsed()


def assert_taken_or_refused(words, *parts):
    try:
        assert isinstance(parse(*words), Config)
    except ConfigError as error:
        assert_one_line(error, *parts)


@st.composite
def configs(draw):
    """A valid configuration, of extreme and of ordinary values."""
    sizes = st.one_of(st.integers(0, 9), st.integers(0, LARGEST), st.just(LARGEST))
    by_type = {
        int: sizes,
        float: st.one_of(st.floats(0, 2), FLOATS, st.integers(0, 5)),
        bool: st.booleans(),
        str: st.text(max_size=20),
        Truncation: st.one_of(st.just("full"), sizes),
        Count: st.one_of(st.just("auto"), sizes),
        tuple[int, ...]: st.lists(sizes, min_size=1, max_size=4).map(tuple),
    }
    values = {}
    for name in draw(st.lists(st.sampled_from(list(FIELDS)), unique=True)):
        allowed = FIELDS[name].metadata["allowed"]
        if name == "dataset":
            strategy = st.sampled_from(list(dataset_names()))
        elif allowed.phrase.startswith("one of "):
            strategy = st.sampled_from(allowed.phrase.removeprefix("one of ").split(", "))
        else:
            strategy = by_type[FIELDS[name].type]
        values[name] = draw(strategy.filter(allowed.accepts))
    try:
        return serialization.from_flat(values)
    except ConfigError:  # settings that contradict each other
        assume(False)


SPECS = st.builds(
    SequenceSpec,
    length=st.one_of(st.integers(1, 2000), st.integers(1, 2**62)),
    channels=st.integers(1, 4),
    num_classes=st.integers(1, 10**6),
    vocabulary_size=st.sampled_from([0, 256]),
)


@examples(300)
@given(st.sampled_from(FLAGS), VALUES)
def test_any_text_for_any_flag_is_taken_or_refused_in_one_line(name, value):
    assert_taken_or_refused([f"--{name}={value}"], name)


@examples(50)
@given(st.lists(st.one_of(TEXTS, VALUES, st.sampled_from(FLAGS).map("--{}".format)), max_size=6))
@example(["--flagfile=~\0"])
@example(["--flagfile=~\ud800"])
@example(["--noteacher_forcing=3"])
@example(["--flagfile"])
def test_any_words_are_taken_or_refused_in_one_line(words):
    assume(not any("help" in word for word in words))  # which ends the program
    assert_taken_or_refused(words)


OBJECTS = st.dictionaries(st.one_of(st.sampled_from(list(FIELDS)), TEXTS), st.one_of(JSON, VALUES), max_size=4)
DEEP = st.integers(1, 200_000).map(lambda depth: "[" * depth)


@examples(120)
@given(st.one_of(st.one_of(OBJECTS, JSON).map(json.dumps), st.text(), DEEP))
@example(json.dumps({"learning_rate": 10**400}))
@example(json.dumps({"head_sizes": [10**400]}))
@example("[" * 990 + "]" * 990)
@example('{"seed": ' + "[" * 900 + "]" * 900 + "}")
@example('{"seed": 1' + "0" * 5_000 + "}")
def test_any_text_is_a_configuration_or_refused_in_one_line_or_no_json_object(text):
    try:
        assert isinstance(serialization.from_json(text), Config)
    except ConfigError as error:
        assert_one_line(error, ": no such setting" if ": no such" in str(error) else ": must be ")
    except ValueError:
        pass


@examples(60)
@given(configs())
def test_a_configuration_is_kept_by_json_and_by_a_flag_file(config):
    assert serialization.from_json(serialization.to_json(config)) == config
    values = serialization.to_flat(config)
    # The lines of a flag file are stripped.
    assume(not any(isinstance(value, str) and value != value.strip() for value in values.values()))
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"--{name}={format_value(value)}\n" for name, value in values.items()]
        (Path(folder) / "file").write_text("".join(lines), encoding="utf-8")
        assert parse(f"--flagfile={folder}/file") == config


@examples(60)
@given(configs(), SPECS, st.integers(1, 10**6))
def test_any_configuration_fits_any_sequences_or_is_refused_in_one_line(config, spec, devices):
    for check in (
        lambda: check_segment(config.model, spec),
        lambda: check_devices(config, devices),
        lambda: Plan.of(config, spec.length),
        lambda: sequence_spec(config.data),
        lambda: split_sizes(config.data),
    ):
        try:
            check()
        except ConfigError as error:
            assert_one_line(error, "=", ": must be ")
    if config.model.encoder == "transformer" or spec.length > config.model.segment_length:
        assert count_training_step(config, spec) >= 0
