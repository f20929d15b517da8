"""Networks are saved to one file without pickle, and runs are loaded without their data, in any process."""

import sys

import chex
import jax
import numpy as np
import pytest
from faulty import run
from flax import linen as nn
from small_network import FLOATS, LABELS, SMALL_NETWORK
from written_run import at, write_checkpoints

import aux_rnn
from aux_rnn.analysis.predict import predict_run, save_predictions
from aux_rnn.config.serialization import from_flat, to_json, with_settings
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import find_dataset, load_splits
from aux_rnn.datasets.arrays import Form
from aux_rnn.datasets.dataset import make_permutation
from aux_rnn.model.objective import make_model
from aux_rnn.storage.model_file import read_form, write_form
from aux_rnn.training.plan import Plan
from aux_rnn.training.steps import create_train_state
from aux_rnn.training.train import train_and_evaluate

KINDS = np.array(["left", "right", "up"])[LABELS]
SMALL = {**SMALL_NETWORK, "pretrain_epochs": 0}
pytestmark = pytest.mark.usefixtures("shared_steps")
ELSEWHERE = """
import sys, numpy as np, aux_rnn
loaded = aux_rnn.load(sys.argv[1])
np.savez(sys.argv[3], logits=loaded.logits(np.load(sys.argv[2])), classes=loaded.classes_)
"""


def load_elsewhere(path, inputs, folder):
    """Loads a network in another process and returns its logits and classes."""
    np.save(folder / "inputs.npy", inputs)
    ended = run([sys.executable, "-c", ELSEWHERE, *map(str, (path, folder / "inputs.npy", folder / "found.npz"))])
    assert ended.code == 0, ended.err
    return np.load(folder / "found.npz")


@pytest.mark.slow
def test_a_fitted_network_is_saved_and_loaded_in_another_process(tmp_path):
    fitted = aux_rnn.fit(FLOATS, KINDS, cell=nn.OptimizedLSTMCell, **SMALL)
    before = fitted.logits(FLOATS)
    fitted.save(tmp_path / "all.npz")
    fitted.save(tmp_path / "small.npz", decoders=False)
    assert (tmp_path / "small.npz").stat().st_size < (tmp_path / "all.npz").stat().st_size
    found = load_elsewhere(tmp_path / "small.npz", FLOATS, tmp_path)
    np.testing.assert_allclose(found["logits"], before, atol=1e-6)
    assert found["classes"].tolist() == ["left", "right", "up"]
    loaded = aux_rnn.load(str(tmp_path / "all.npz"))
    assert (loaded.form, loaded.summary) == (fitted.form, fitted.summary)
    assert to_json(loaded.config) == to_json(fitted.config)
    assert loaded.predict(FLOATS).tolist() == fitted.predict(FLOATS).tolist()
    with pytest.raises(aux_rnn.ConfigError, match="checkpoint=best: must be left out for"):
        aux_rnn.load(tmp_path / "all.npz", checkpoint="best")


def untrained(**settings):
    """Returns a network for `FLOATS` with its first parameters."""
    config = from_flat({**SMALL, "auxiliary": "none", **settings})
    form = Form(SequenceSpec(6, 2, 3), np.dtype(np.float32), False, ("left", "right", "up"))
    params = aux_rnn.init_params(make_model(config.model, form.spec), jax.random.key(0))
    return aux_rnn.Fitted(config, form, None, params, {})


def test_files_that_are_no_network_are_refused(tmp_path):
    fitted = untrained(data_dir="/home/somebody")
    fitted.save(tmp_path / "network")
    assert aux_rnn.load(tmp_path / "network").config.data.data_dir == "", "a file that may be published"
    content = (tmp_path / "network").read_bytes()
    middle = len(content) // 2
    for name, damaged in (
        ("flipped", content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]),
        ("short", content[:middle]),
        ("empty", b""),
        ("text", b"no network"),
    ):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(aux_rnn.ModelFileError, match=f"{name}: not a network that Fitted.save wrote"):
            aux_rnn.load(tmp_path / name)
    np.savez(tmp_path / "objects.npz", header=np.array([{"version": 1}], object))
    for name in ("objects.npz", "missing"):
        with pytest.raises(aux_rnn.ModelFileError, match=f"{name}: not a network that Fitted.save wrote"):
            aux_rnn.load(tmp_path / name)
    with pytest.raises(aux_rnn.ModelFileError, match="cannot be written"):
        fitted.save(tmp_path / "nowhere/network")


def test_a_run_is_loaded_and_predicts_what_the_mode_predict_writes(tiny, quiet, tmp_path):
    run = tmp_path / "run"
    train_and_evaluate(with_settings(tiny, auxiliary="none"), run, quiet)
    assert read_form(run) == find_dataset(tiny.data).describe(tiny.data)
    save_predictions(run, predict_run(run, tiny.data, "test"))
    images = load_splits(tiny.data, tiny.run.seed).test.inputs
    loaded = aux_rnn.load(run)
    with np.load(run / "predictions-test.npz") as written:
        np.testing.assert_allclose(loaded.logits(images), written["logits"], atol=1e-5)
        assert list(loaded.form.names) == written["classes"].tolist()
    assert loaded.classes_.tolist() == list(range(10))


def test_a_run_is_loaded_without_its_data_with_permutation_and_names(tmp_path):
    config = from_flat({**SMALL, "dataset": "tfds:gone", "permutation_seed": 3})
    form = Form(SequenceSpec(6, 2, 3), np.dtype(np.uint8), False, (0, 1, 2), names=("a", "b", "c"), permuted=True)
    state = create_train_state(config, form.spec, Plan.of(config, steps_per_epoch=1))
    write_form(write_checkpoints(tmp_path / "run", config, state, [2, 4], best=2), form)
    latest, best, second = (aux_rnn.load(tmp_path / "run", checkpoint=name) for name in ("latest", "best", 2))
    assert latest.form == form
    np.testing.assert_array_equal(latest.permutation, make_permutation(6, 3))
    for loaded, step in ((latest, 4), (best, 2), (second, 2)):
        chex.assert_trees_all_equal(loaded.params, at(step, state).params)
    pixels = np.random.default_rng(0).integers(256, size=(5, 6, 2), dtype=np.uint8)
    best.save(tmp_path / "best.npz")
    np.testing.assert_array_equal(aux_rnn.load(tmp_path / "best.npz").logits(pixels), best.logits(pixels))
    with pytest.raises(aux_rnn.ConfigError, match="checkpoint=newest: must be latest, best or the step"):
        aux_rnn.load(tmp_path / "run", checkpoint="newest")
    with pytest.raises(aux_rnn.WorkdirError, match="holds no run"):
        aux_rnn.load(tmp_path)
    (tmp_path / "run/form.json").write_text("{}")
    with pytest.raises(aux_rnn.WorkdirError, match=r"form.json: cannot be read"):
        aux_rnn.load(tmp_path / "run")
