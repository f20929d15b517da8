"""compare.py: rows, units, bands and mistakes, on records that are written by hand."""

import math
from pathlib import Path

import compare
import pytest
from compare import draw_comparison, mean_curve, read_runs
from PIL import Image
from written_run import panel_of, write_run

from aux_rnn.config.serialization import with_settings


@pytest.fixture
def config(tiny):
    return with_settings(tiny, auxiliary="reconstruct")


@pytest.fixture
def runs(config, tmp_path):
    """Three seeds of one row, one of another."""
    folders = []
    for seed, scale in enumerate((1.0, 2.0, 3.0)):
        scores = dict(test_accuracy=0.5 + 0.1 * seed, validation_accuracy=0.5, seconds=60.0)
        folders.append(write_run(tmp_path / f"r{seed}", with_settings(config, seed=seed), scale, **scores))
    other = with_settings(config, auxiliary="none", hidden_size=7, manual_dir="elsewhere")
    return [*folders, write_run(tmp_path / "none", other)]


def test_runs_that_differ_in_their_seed_are_one_row(runs):
    frame = read_runs(runs)
    assert list(frame["row"]) == ["r-LSTM on digits, hidden_size=6"] * 3 + ["LSTM on digits, hidden_size=7"]
    several, single = frame[:3], frame[3:]
    curve = mean_curve(several, "train", "supervised_loss")
    assert curve.loc[1.5, "mean"] == pytest.approx(4.0)
    # Student's t for two degrees of freedom times the standard error of 2, 4 and 6.
    assert curve.loc[1.5, "half"] == pytest.approx(4.3027 * 2 / math.sqrt(3), rel=1e-4)
    assert math.isnan(curve.loc[2.0, "mean"])
    assert math.isnan(mean_curve(single, "train", "supervised_loss").loc[1.5, "half"])
    figure = draw_comparison(frame, "train")
    band = panel_of(figure, "supervised").collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(4.0 + curve.loc[1.5, "half"])
    assert len(panel_of(figure, "reconstruction").lines) == 1
    assert len(panel_of(figure, "gradient").lines) == 2
    accuracy = panel_of(figure, "accuracy (%)").lines[0]
    assert accuracy.get_xydata().tolist() == [[1.5, 37.5], [2.0, 50.0], [3.0, 75.0]]


def test_two_seeds_have_no_band_and_an_lstm_shows_no_pretraining(runs, config, tmp_path):
    longer = write_run(tmp_path / "longer", with_settings(config, pretrain_epochs=2))
    frame = read_runs([*runs[:2], runs[3], longer])
    assert list(frame["row"]) == [
        "r-LSTM on digits, hidden_size=6, pretrain_epochs=1",
        "r-LSTM on digits, hidden_size=6, pretrain_epochs=1",
        "LSTM on digits, hidden_size=7",
        "r-LSTM on digits, hidden_size=6, pretrain_epochs=2",
    ]
    assert not panel_of(draw_comparison(frame, "train"), "supervised").collections


def test_losses_in_different_units_have_panels_of_their_own(config, tmp_path):
    variants = {
        "squared": config,
        "softmax": with_settings(config, pixel_loss="softmax"),
        "text": with_settings(config, dataset="digits_text", image_size=0),
        "tokens": with_settings(config, dataset="token-arrays-0123", image_size=0),
        "images": with_settings(config, dataset="tfds:svhn_cropped", image_size=0),
        "none": with_settings(config, auxiliary="none"),
    }
    runs = read_runs([write_run(tmp_path / name, each) for name, each in variants.items()])
    figure = draw_comparison(runs, "train")
    assert len(panel_of(figure, "reconstruction loss (squared error)").lines) == 2
    assert len(panel_of(figure, "reconstruction loss (nats)").lines) == 3
    assert len(panel_of(figure, "supervised loss (nats)").lines) == 6


def test_a_table_is_printed_and_both_figures_are_written(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("aux_rnn.plots.style.PNG_DPI", 50)
    assert compare.main(["compare.py", *runs, "--split=train", f"--output={tmp_path}/figures/all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("r-LSTM on digits, hidden_size=6  ")
    assert "60.0 ± 24.8" in lines[1]
    assert lines[1].endswith("0:01:00")
    assert lines[2].split()[-3:] == ["-", "-", "-"]
    svg = (tmp_path / "figures/all.svg").read_text()
    for label in ("r-LSTM on digits, hidden_size=6", "accuracy (%)", "training batches"):
        assert label in svg
    assert Image.open(tmp_path / "figures/all.png").size[0] == 420


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: RUN: none given"),
        (["{0}"] + [f"{{0}}{n}" for n in range(1, 7)], "error: RUN: 7 sets of settings; one figure can show at most 6"),
        (["nowhere"], "error: nowhere: holds no run"),
        (["{0}", "{0}"], "error: RUN: r-LSTM on digits with seeds 0, 0: give each seed once"),
        (["{0}", "--split=all"], "error: --split=all"),
        (["{0}", "--output=/dev/null/x"], "error: --output=/dev/null/x: must be a file that can be written ("),
    ],
)
def test_a_mistake_gets_one_line(arguments, message, runs, config, capsys):
    for number in range(1, 7):
        write_run(Path(f"{runs[0]}{number}"), with_settings(config, num_anchors=number + 1))
    assert compare.main(["compare.py", *(word.format(*runs) for word in arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
