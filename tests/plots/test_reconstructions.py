"""Reconstructions by the decoders, and the figures of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.analysis.reconstruct import reconstruct_run
from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import with_settings
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Examples, Splits
from aux_rnn.model.inputs import Batch
from aux_rnn.model.objective import draw_all_segments, init_params, make_model
from aux_rnn.plots.reconstructions import plotter
from aux_rnn.plots.reconstructions.figure import OUTSIDE, draw_reconstructions, to_text
from aux_rnn.plots.reconstructions.samples import make_decode_fn, pick_examples, spread_anchors
from aux_rnn.storage.workdir import WorkdirError, write_config
from aux_rnn.training.outputs import RunOutputs
from aux_rnn.training.plan import Plan
from aux_rnn.training.train import train_and_evaluate

pytestmark = pytest.mark.usefixtures("shared_steps")
SPEC = SequenceSpec(length=12, channels=1, num_classes=3)
# Three images of 3 x 4 pixels that have nothing in common.
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 3, 4, 1), np.uint8)
EXAMPLES = Examples(IMAGES, np.arange(3, dtype=np.int32))
PERMUTATION = np.random.default_rng(2).permutation(12)


@pytest.fixture(scope="module")
def tiny(tiny):
    return with_settings(tiny, auxiliary="both")


@pytest.fixture(scope="module")
def decoded(tiny):
    """Returns the segments of permuted images."""
    decode, params = make_decode_fn(tiny, SPEC, PERMUTATION), init(tiny, SPEC)
    return [decode(params, EXAMPLES, kind) for kind in ("reconstruct", "predict")]


def init(config, spec):
    return init_params(make_model(config.model, spec), jax.random.key(1))


def test_segments_lie_where_the_anchors_say(decoded):
    reconstruct, predict = decoded
    pixels = IMAGES.reshape(3, 12, 1)[:, PERMUTATION] / np.float32(255)
    np.testing.assert_array_equal(reconstruct.anchors, [[5, 8, 12]] * 3)
    np.testing.assert_array_equal(reconstruct.begins, [[0, 3, 7]] * 3)
    np.testing.assert_array_equal(predict.anchors, [[1, 4, 7]] * 3)
    np.testing.assert_array_equal(predict.begins, predict.anchors)
    for found in (reconstruct, predict):
        for example, number in np.ndindex(3, 3):
            begin = found.begins[example, number]
            np.testing.assert_allclose(found.targets[example, number], pixels[example, begin : begin + 5])


def test_anchors_of_texts_are_spread_over_what_each_allows():
    lengths = np.array([12, 6, 3], np.int32)
    np.testing.assert_array_equal(spread_anchors("reconstruct", lengths, 5, 3), [[5, 8, 12], [5, 6, 6], [3, 3, 3]])
    np.testing.assert_array_equal(spread_anchors("predict", lengths, 5, 2), [[1, 7], [1, 1], [1, 1]])
    assert spread_anchors("reconstruct", np.array([5], np.int32), 5).tolist() == [[5]]


@pytest.mark.parametrize(("loss", "dropout"), [("squared", 0.5), ("softmax", 0.0)])
@pytest.mark.slow
def test_outputs_are_those_that_the_loss_sees(tiny, loss, dropout):
    # A segment as long as the sequence leaves one anchor, so that an evaluation has the same one.
    options = dict(pixel_loss=loss, decoder_input_dropout=dropout, auxiliary="reconstruct", segment_length=12)
    config = with_settings(tiny, **options)
    params = init(config, SPEC)
    found = make_decode_fn(config, SPEC)(params, EXAMPLES, "reconstruct")
    inputs = jnp.asarray(IMAGES.reshape(3, 12, 1) / np.float32(255))
    segments = draw_all_segments(config.model, jax.random.key(0), Batch(inputs, None, jnp.arange(3), jnp.ones(3, bool)))
    np.testing.assert_array_equal(segments["reconstruct"].targets, found.targets)
    for is_forced, decoded in ((True, found.teacher_forced), (False, found.free_running)):
        model = make_model(with_settings(config, teacher_forcing=is_forced).model, SPEC)
        outputs = jax.jit(model.apply)({"params": params}, inputs, None, segments)[1]["reconstruct"]
        if loss == "softmax":
            np.testing.assert_allclose(decoded, outputs.argmax(-1) / 255)
        else:
            np.testing.assert_allclose(decoded, outputs, rtol=1e-5, atol=1e-6)


def test_a_free_running_decoder_gets_the_true_element_in_its_first_step_only(decoded):
    difference = np.abs(decoded[1].free_running - decoded[1].teacher_forced)
    np.testing.assert_allclose(difference[:, :, 0], 0, atol=1e-6)
    assert difference[:, :, 1:].max() > 1e-4


def test_a_figure_is_left_out_once_the_run_is_to_stop(tiny, monkeypatch):
    decoded = []
    monkeypatch.setattr(plotter, "make_decode_fn", lambda *_: lambda params, examples, kind: decoded.append(kind))
    plot = plotter.make_reconstruction_plotter(tiny, SPEC, Splits(EXAMPLES, EXAMPLES, EXAMPLES), None, 9)
    for count in range(3):
        decoded.clear()
        assert plot(None, 3, lambda count=count: len(decoded) == count) is None
        assert decoded == ["reconstruct", "predict"][:count]


def test_examples_are_of_different_classes():
    labels = np.array([2, 2, 0, 1, 0], np.int32)
    picked = pick_examples(Examples(np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1), labels), 2)
    assert picked.labels.tolist() == [0, 1]
    assert picked.inputs.ravel().tolist() == [2, 3]


def test_a_permuted_segment_is_drawn_over_the_image_it_comes_from(decoded):
    figure = draw_reconstructions(decoded, EXAMPLES, "title", PERMUTATION)
    for part, found in zip(figure.subfigs, decoded, strict=True):
        pictures = np.array([panel.images[0].get_array() for panel in part.axes]).reshape(4, 9, 3, 4, 3)
        original, segment = pictures[0], pictures[1]
        is_inside = (segment != np.array(OUTSIDE)).any(-1)
        np.testing.assert_allclose(original, np.repeat(IMAGES, 3, axis=0).repeat(3, axis=-1) / 255)
        assert is_inside.sum(axis=(1, 2)).tolist() == [5] * 9
        np.testing.assert_allclose(segment[is_inside], original[is_inside], rtol=1e-6)
        for column, begin in enumerate(found.begins.ravel()):
            assert set(np.flatnonzero(is_inside[column])) == set(PERMUTATION[begin : begin + 5])


def test_texts_are_side_by_side_with_wrong_bytes_in_bold(tiny):
    spec = SequenceSpec(12, 1, 2, 256)
    inputs = np.zeros((2, 12), np.uint8)
    inputs[0] = np.frombuffer(b"a$b c$d\xc3\xa9 ef", np.uint8)
    inputs[1, 8:] = np.frombuffer(b"wxyz", np.uint8)
    examples = Examples(inputs, np.arange(2, dtype=np.int32), np.array([12, 4], np.int32))
    config = with_settings(tiny, auxiliary="reconstruct")
    found = make_decode_fn(config, spec)(init(config, spec), examples, "reconstruct")
    assert to_text(found.targets[0, 0]) == "a$b c"
    assert to_text(found.targets[0, 2]) == "·· ef"
    assert found.mask[1].sum(-1).tolist() == [4, 4, 4]
    assert to_text(found.targets[1, 0][found.mask[1, 0]]) == "wxyz"
    wrong = found._replace(free_running=np.where(found.targets == ord("$"), ord(" "), found.targets))
    figure = draw_reconstructions([wrong], examples, "title")
    lines = {(text.get_weight(), text.get_text()) for text in figure.subfigs[0].axes[0].texts}
    assert {("normal", "a$b c"), ("normal", "a\u00a0b c"), ("bold", "\u00a0\u2423")} <= lines


@pytest.mark.parametrize("vocabulary", [0, 7], ids=["values", "tokens"])
def test_other_sequences_are_lines_with_the_segment_in_its_place(vocabulary, tiny):
    random = np.random.default_rng(0)
    inputs = random.integers(7, size=(3, 12)).astype(np.int32) if vocabulary else random.random((3, 12, 4), np.float32)
    lengths = np.array([12, 8, 4], np.int32)
    examples = Examples(inputs, np.arange(3, dtype=np.int32), lengths)
    spec = SequenceSpec(12, 1 if vocabulary else 4, 3, vocabulary)
    found = make_decode_fn(tiny, spec)(init(tiny, spec), examples, "predict")
    (part,) = draw_reconstructions([found], examples, "title").subfigs
    channels = 1 if vocabulary else 3
    panels = np.array(part.axes).reshape(3, channels, 3)
    for (example, channel, number), panel in np.ndenumerate(panels):
        sequence, segment, forced, own, anchor = (line.get_xydata().T for line in panel.lines)
        values = inputs[example, 12 - examples.lengths[example] :].reshape(examples.lengths[example], -1)
        np.testing.assert_allclose(sequence, [np.arange(len(values)), values[:, channel]])
        begin = found.anchors[example, number]
        asked = values[begin : begin + 5, channel]
        np.testing.assert_allclose(segment, [begin + np.arange(len(asked)), asked])
        np.testing.assert_array_equal(forced[0], segment[0])
        np.testing.assert_array_equal(own[0], segment[0])
        assert set(anchor[0]) == {begin - 0.5}
    label = panels[0, -1, 0].get_ylabel()
    assert label == ("sequence 1\ntoken" if vocabulary else "sequence 1\nchannel 3 of 4")


def test_figures_become_rarer_regardless_of_where_a_run_was_continued():
    plan = Plan(5, pretrain_steps=35, train_steps=65, log_every=1, evaluate_every=10, checkpoint_every=1)
    assert [step for step in range(1, 101) if plan.should_draw(step)] == [10, 20, 35, 40, 80, 100]


@pytest.mark.slow
def test_a_run_draws_reconstructions_and_a_checkpoint_gives_the_same(tiny, quiet, tmp_path):
    config, path = with_settings(tiny, auxiliary="reconstruct", pictures=True), tmp_path / "run"
    summary = train_and_evaluate(config, path, quiet)
    assert summary["status"] == "complete"
    assert summary["seconds_by_section"]["draw"] > 0
    assert sorted(file.name for file in (path / "plots").glob("*-*.png")) == [
        f"reconstructions-{step}.png" for step in (3, 6, 9)
    ]
    during = (path / "plots/reconstructions-9.png").read_bytes()
    assert during.startswith(b"\x89PNG")
    (path / "plots/reconstructions-9.png").unlink()
    assert reconstruct_run(path, config.data).read_bytes() == during


def test_a_figure_that_is_stopped_or_fails_is_left_out(tiny, tmp_path, caplog):
    def fail():
        raise MemoryError("no room\nfor a picture")

    files = RunOutputs(tmp_path / "run", tiny)
    for step, draw in ((4, lambda: None), (5, lambda: b"picture"), (6, fail)):
        files.show(step, draw)
    files.close()
    assert [file.name for file in (tmp_path / "run/plots").iterdir()] == ["reconstructions-5.png"]
    (line,) = caplog.messages
    assert "step 6 could not be made (no room); the run" in line


def test_a_run_without_decoder_gets_one_line(tiny, tmp_path):
    with pytest.raises(WorkdirError, match="holds no run"):
        reconstruct_run(tmp_path, tiny.data)
    write_config(tmp_path, with_settings(tiny, auxiliary="none"))
    with pytest.raises(ConfigError, match="has no decoder"):
        reconstruct_run(tmp_path, tiny.data)
