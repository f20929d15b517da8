"""The trained network in results/models: it loads, and has the accuracy that its card states."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

import aux_rnn
from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import load_splits

MODEL = Path(__file__).parents[1] / "results/models/mnist-r-lstm.npz"
MANUAL_DIR = os.environ.get("AUX_RNN_MANUAL_DIR", "")


def test_the_trained_network_is_small_and_classifies_images():
    assert MODEL.stat().st_size < 1_000_000
    fitted = aux_rnn.load(MODEL)
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    assert fitted.logits(images).shape == (3, 10)
    assert set(fitted.predict(images)) <= set(range(10))
    with pytest.raises(aux_rnn.DataError, match=re.escape("as for training; give images [N, H, W] as")):
        fitted.predict(images[..., 0])


@pytest.mark.data
@pytest.mark.skipif(not MANUAL_DIR, reason="AUX_RNN_MANUAL_DIR names no folder with the official files")
def test_the_trained_network_has_the_stated_accuracy(tmp_path):
    (stated,) = re.findall(r"first 1,000 test images: ([\d.]+) %", MODEL.with_suffix(".md").read_text(encoding="utf-8"))
    config = DataConfig(dataset="mnist", data_dir=str(tmp_path), manual_dir=MANUAL_DIR)
    test = load_splits(config, seed=0).test.take(slice(1_000))
    accuracy = np.mean(aux_rnn.load(MODEL).predict(test.inputs) == test.labels)
    assert 100 * accuracy == pytest.approx(float(stated), abs=0.11)  # one image more or less
