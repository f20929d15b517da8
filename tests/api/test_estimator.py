"""`SequenceClassifier` follows the conventions of scikit-learn and reads the kinds of arrays that people have."""

import pickle

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import linen as nn
from sklearn.model_selection import GridSearchCV

import aux_rnn
from aux_rnn import SequenceClassifier
from aux_rnn.api.estimator import lower
from aux_rnn.config.settings import ModelConfig

# Sequences that are high in the first half or in the second.
KINDS = np.array(["first", "second"])[np.arange(40) % 2]
ROWS = np.random.default_rng(0).normal(size=(40, 6)) + 3 * ((np.arange(6) > 2) == (KINDS == "second")[:, None])
SMALL = dict(auxiliary="none", embedding_size=4, hidden_size=8, head_sizes=(8,), learning_rate=0.03)
SMALL |= dict(train_epochs=15, batch_size=16)
pytestmark = pytest.mark.usefixtures("shared_steps")


@pytest.mark.slow
def test_the_checks_of_scikit_learn_pass():
    from sklearn.utils.estimator_checks import check_estimator  # takes seconds to import

    check_estimator(SequenceClassifier(**SMALL))  # of parameters and clones, too; none is expected to fail


@pytest.fixture(scope="module")
def fitted():
    return SequenceClassifier(**SMALL).fit(ROWS, KINDS)


def test_it_classifies_and_is_pickled_after_a_prediction(fitted):
    assert fitted.classes_.tolist() == ["first", "second"]
    assert fitted.score(ROWS, KINDS) > 0.9
    probabilities = fitted.predict_proba(ROWS)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(axis=1)], fitted.predict(ROWS))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(ROWS), probabilities)


def test_parameters_are_the_settings_of_fit():
    assert set(vars(ModelConfig())) <= set(SequenceClassifier().get_params())
    with pytest.raises(TypeError, match="no parameter hidden; it has auxiliary, "):
        SequenceClassifier(hidden=7)
    with pytest.raises(aux_rnn.ConfigError, match="hidden_size=-1: must be an integer from 1"):
        SequenceClassifier(hidden_size=-1).fit(ROWS, KINDS)


def test_segments_and_batches_are_at_most_as_large_as_the_data():
    settings = dict(auxiliary="both", segment_length=600, batch_size=64)
    assert lower(settings, length=6, count=42) == {**settings, "segment_length": 5, "batch_size": 40}
    assert lower({**settings, "segment_length": 2}, length=6, count=99) == {**settings, "segment_length": 2}
    with pytest.raises(aux_rnn.DataError, match="n_samples=3: must be at least 4, the number of devices"):
        lower(settings, length=6, count=3)


def test_it_shares_its_implementation_with_fit(fitted):
    same = aux_rnn.fit(ROWS, KINDS, validation_fraction=0, pretrain_epochs=0, optimizer="adam", **SMALL)
    assert same.summary["params_digest"] == fitted.fitted_.summary["params_digest"]
    assert same.classes_.tolist() == fitted.classes_.tolist()


@pytest.mark.parametrize(
    "convert",
    [lambda rows: rows[..., None], np.ndarray.tolist, pd.DataFrame, jnp.asarray],
    ids=["channels", "lists", "pandas", "jax"],
)
def test_kinds_of_arrays(convert, fitted):
    expected = fitted.predict(ROWS.astype(np.float16))
    with np.errstate(all="ignore"):
        assert (fitted.predict(convert(ROWS)) == expected).mean() > 0.95


def test_what_numpy_cannot_have_is_refused_in_one_line(fitted):
    class OnAnotherDevice:
        def __array__(self, dtype=None, copy=None):
            raise TypeError("can't convert cuda:0 device type tensor to numpy\nUse Tensor.cpu()")

    with pytest.raises(aux_rnn.DataError, match=r"^X: cannot be converted to a NumPy array .*cuda:0") as caught:
        fitted.predict(OnAnotherDevice())
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_sequences_of_unequal_length_and_cells_of_flax():
    rows = [row[: 3 + number % 4] for number, row in enumerate(ROWS)]
    lengths = np.array([len(row) for row in rows])
    right, left = np.zeros((40, 6)), np.zeros((40, 6))
    for number, row in enumerate(rows):
        right[number, : len(row)], left[number, 6 - len(row) :] = row, row
    small = {**SMALL, "cell": nn.OptimizedLSTMCell, "train_epochs": 2}
    classifier = SequenceClassifier(**small).fit(rows, KINDS)
    same = SequenceClassifier(padding="right", **small).fit(right, KINDS, lengths)
    expected = classifier.predict_proba(rows)
    np.testing.assert_array_equal(same.predict_proba(right, lengths), expected)
    assert same.score(right, KINDS, lengths=lengths) == classifier.score(rows, KINDS)
    np.testing.assert_allclose(classifier.predict_proba(rows[:1]), expected[:1], atol=1e-6)
    np.testing.assert_allclose(classifier.predict_proba([[0.5] * 9, rows[1]])[1:], expected[1:2], atol=1e-6)  # longer


def test_tokens_need_a_vocabulary():
    tokens = (ROWS > 1.5).astype(int)
    classifier = SequenceClassifier(vocabulary_size=2, **SMALL).fit(tokens, KINDS)
    assert classifier.fitted_.form.spec.vocabulary_size == 2
    with pytest.raises(aux_rnn.DataError, match="must be tokens, integers, by vocabulary_size"):
        classifier.predict(ROWS)


@pytest.mark.slow
def test_a_search_over_sequences_of_unequal_length_in_two_processes():
    rows = [row[: 4 + number % 3] for number, row in enumerate(ROWS)]
    grid = {"auxiliary": ["none", "reconstruct"]}
    search = GridSearchCV(SequenceClassifier(**SMALL), grid, cv=2, n_jobs=2).fit(rows, KINDS)
    assert search.cv_results_["mean_test_score"].min() > 0.6
