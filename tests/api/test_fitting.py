"""`fit`: arrays of every kind get in, what does not fit is refused in one line, and a run is continued."""

import json
import pickle
import re

import jax.numpy as jnp
import numpy as np
import own_data
import pytest
from flax import linen as nn
from small_network import FLOATS, LABELS, SMALL_NETWORK, own_cell

import aux_rnn
from aux_rnn.analysis.evaluate import evaluate_run
from aux_rnn.config.settings import DataConfig
from aux_rnn.training.progress import format_summary

TOKENS = np.random.default_rng(0).integers(5, size=(24, 6))
SMALL = {**SMALL_NETWORK, "pretrain_epochs": 0}
pytestmark = pytest.mark.usefixtures("shared_steps")


def refused(*arguments, **options):
    with pytest.raises((aux_rnn.DataError, aux_rnn.ConfigError)) as caught:
        aux_rnn.fit(*arguments, **{**SMALL, **options})
    (line,) = str(caught.value).splitlines()
    return line


LAYOUTS = "must be [N, L, C] or [N, L] of floats, [N, L, C] of"
UNEQUAL = "must be [L, C] or [L], and differ in L alone"


@pytest.mark.parametrize(
    ("inputs", "options", "expected"),
    [
        (FLOATS[None], {}, f"inputs: float64 [1, 24, 6, 2]: {LAYOUTS}"),
        (FLOATS.astype(int), {}, f"inputs: int64 [24, 6, 2]: {LAYOUTS}"),
        (FLOATS[:0], {}, "inputs: float64 [0, 6, 2] is empty; must be"),
        (FLOATS * 1e300, {}, "288 of 288 values; must be finite in float32"),
        ([[[1.0]], [[1.0, 2.0], [1.0, 2.0]]], {}, f"are of the shapes [1, 1], [2, 2]; {UNEQUAL}"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, f"[2, 3], [2, 4]; {UNEQUAL}; cha"),
        (FLOATS.swapaxes(1, 2), {}, "look like [N, C, L], with the channels first; give channels_first=True, or"),
        (np.zeros((24, 3, 8, 8), np.uint8), {}, "[24, 3, 8, 8] look like [N, C, H, W], with the channels first"),
        (np.ma.masked_less(FLOATS, 0.5), {}, "values are masked; fill them, or give lengths="),
        (TOKENS - 1, {}, "inputs: tokens are from -1 to 3; must be from 0, and below 2^31"),
        (TOKENS, dict(vocabulary_size=4), "inputs: the largest token is 4; must be from 0 to 3 (see vocabulary_size)"),
        (FLOATS, dict(num_classes=2), "labels: 2 is unknown; must be one of the 2 classes 0, 1 (see num_classes)"),
        (FLOATS, dict(test=(FLOATS[:, :5], LABELS)), "test inputs: are sequences of 5 x 2 of float32; must be of 6"),
        (FLOATS, dict(test=(FLOATS, LABELS + 1)), "test labels: 3 is unknown; must be one of the 3 classes 0, 1, 2"),
        (FLOATS, dict(test=(FLOATS, LABELS, LABELS + 1), padding="left"), "test lengths: must be given if and only"),
        (FLOATS, dict(test=0.2), "test: is 0.2; must be (inputs, labels) or (inputs, labels, lengths)"),
        (FLOATS, dict(test=FLOATS), "test: has 24 parts; must be (inputs, labels) or (inputs, labels, lengths)"),
        (FLOATS, dict(lengths=LABELS), "lengths: are from 0 to 2; must be from 1 to 6"),
        (FLOATS, dict(lengths=np.ones((24, 6), bool)), "; of a mask that is true for elements write mask.sum(axis=1)"),
        (FLOATS, dict(lengths=LABELS + 3, padding="top"), "padding='top': must be 'left', 'right' or None"),
        (FLOATS, dict(workdir=""), "workdir=: must be a folder, an address such as gs://BUCKET/RUN, or None"),
        (FLOATS, dict(progress=aux_rnn.Progress), "training.progress.Progress'>: must be True, None or a"),
        (FLOATS, dict(segment_length=7), "segment_length=7: must be at most 6 to reconstruct sequences of 6"),
        (FLOATS, dict(batch_size=64), "batch_size=64: must be at most 22, the number of training examples"),
        (FLOATS, dict(image_size=4), "image_size=4: must be left out; arrays are taken as they are"),
        (FLOATS, dict(pixel_loss="softmax"), "pixel_loss=softmax: must be squared for values of float32; softmax is"),
    ],
)
def test_arrays_and_options_that_will_not_do(inputs, options, expected):
    assert expected in refused(inputs, LABELS, **options)


@pytest.mark.slow
def test_floats_are_taken_as_they_are_and_bytes_are_scaled():
    """The same pixels as bytes and as floats give the same network."""
    pixels = np.random.default_rng(1).integers(256, size=(24, 6, 2), dtype=np.uint8)
    quick = {**SMALL, "auxiliary": "none"}
    of_bytes = aux_rnn.fit(pixels, LABELS, **quick)
    of_floats = aux_rnn.fit(pixels / 255, LABELS, **quick)
    np.testing.assert_allclose(of_floats.logits(pixels / 255), of_bytes.logits(pixels), rtol=1e-4, atol=1e-5)
    with pytest.raises(aux_rnn.DataError, match="inputs: are sequences of 6 x 2 of float32; must be of 6 x 2 of uint8"):
        of_bytes.predict(pixels / 255)


@pytest.mark.slow
def test_a_run_in_a_folder_is_continued_and_is_of_these_arrays_alone(tmp_path):
    settings = dict(workdir=tmp_path, validation_fraction=0.25, **SMALL)
    first = aux_rnn.fit(FLOATS, LABELS, test=(FLOATS, LABELS), **settings)
    assert {f.name for f in (tmp_path / "plots").glob("*.png")} == {"curves.png", "reconstructions-2.png"}
    assert "reconstruction loss (squared error)" in (tmp_path / "plots/curves.svg").read_text()
    report = (tmp_path / "report.html").read_text()
    assert "aux_rnn.fit(\n    inputs, labels,\n" in report
    assert "    segment_length=3,\n" in report
    assert "main.py" not in report
    assert json.loads((tmp_path / "summary.json").read_text())["params_digest"] == first.summary["params_digest"]
    again = aux_rnn.fit(FLOATS, LABELS, test=(FLOATS, LABELS), **settings)
    assert again.summary["params_digest"] == first.summary["params_digest"]
    logits = first.logits(FLOATS)
    np.testing.assert_array_equal(again.logits(FLOATS), logits)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).logits(FLOATS), logits)
    assert np.mean(again.predict(FLOATS) == LABELS) == pytest.approx(again.summary["test_accuracy"])
    with pytest.raises(aux_rnn.WorkdirError, match=r"holds a run with other settings \(dataset: arrays-"):
        aux_rnn.fit(FLOATS + 1, LABELS, test=(FLOATS, LABELS), **settings)
    with pytest.raises(aux_rnn.ConfigError, match=r"^dataset=arrays-\w+: arrays of a program, .* aux_rnn\.fit"):
        evaluate_run(tmp_path, DataConfig())


def test_a_run_with_an_evaluation_that_is_not_finite_completes(tmp_path):
    outlier = np.array(FLOATS)
    outlier[3, 2, 0] = 1e20  # its square is not finite in float32
    settings = dict(test=(outlier, LABELS), workdir=tmp_path, pictures=False, **SMALL)
    fitted = aux_rnn.fit(FLOATS, LABELS, **settings)
    assert fitted.summary["results"]["test"]["reconstruct_loss"] == np.inf
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["status"] == "complete"
    assert summary["results"]["test"]["reconstruct_loss"] is None
    assert re.search("^test .* reconstruct nan", format_summary(summary, tmp_path), re.MULTILINE)
    records = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "metrics.jsonl").open()]
    assert records[-1]["reconstruct_loss"] is None
    again = aux_rnn.fit(FLOATS, LABELS, **settings)
    assert again.summary["params_digest"] == fitted.summary["params_digest"]
    assert str(again.summary["results"]) == str(fitted.summary["results"])  # NaN differs from itself


def test_the_script_says_what_its_array_lacks(monkeypatch, capsys):
    monkeypatch.setattr(own_data, "make_data", lambda count, seed: (np.full((8, 48, 1), np.nan), np.arange(8)))
    assert own_data.main([]) == 2
    assert capsys.readouterr().err.startswith("error: inputs: nan at [0, 0, 0], 384 of 384 values; must be finite")


class Pair(nn.RNNCellBase):
    """A cell whose state ends with an array that is no hidden state."""

    features: int

    def __call__(self, carry, inputs):
        return carry, carry[0]

    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], self.features)), jnp.zeros(())


@pytest.mark.slow
def test_any_cell_of_flax_is_trained_and_its_run_is_continued_and_loaded(tmp_path):
    options = dict(workdir=tmp_path, pictures=False, **SMALL, auxiliary="none")
    fitted = aux_rnn.fit(FLOATS, LABELS, cell=own_cell, **options)
    again = aux_rnn.fit(FLOATS, LABELS, cell=own_cell, **options)
    assert fitted.summary["params_digest"] == again.summary["params_digest"]
    assert fitted.summary["encoder"] == again.summary["encoder"] == "small_network.own_cell"
    fitted.save(tmp_path / "network")
    for path in (tmp_path, tmp_path / "network"):
        np.testing.assert_array_equal(aux_rnn.load(path, cell=own_cell).logits(FLOATS), fitted.logits(FLOATS))
    with pytest.raises(aux_rnn.ConfigError, match=r"encoder=small_network.own_cell: .* pass the function .* cell="):
        aux_rnn.load(tmp_path / "network").logits(FLOATS)
    with pytest.raises(aux_rnn.WorkdirError, match=r"other settings \(encoder: small_network.own_cell -> flax.linen"):
        aux_rnn.fit(FLOATS, LABELS, cell=nn.MGUCell, **options)
    assert refused(FLOATS, LABELS, cell=nn.MGUCell, encoder="lstm").startswith("encoder=lstm: must be left out")
    assert "a cell that is not part of flax.linen" in refused(FLOATS, LABELS, encoder="somewhere.Cell")


@pytest.mark.parametrize("cell", [nn.Dense, nn.GRUCell(8), nn.ConvLSTMCell, Pair, print, "GRUCell", 3])
def test_what_is_no_cell_is_refused(cell):
    assert "must be a function from a number of units to a cell of flax.linen" in refused(FLOATS, LABELS, cell=cell)
