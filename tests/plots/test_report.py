"""Curves and report.html, from records that are written by hand."""

import html.parser
import math
import re
import shlex
import sys

import numpy as np
import pytest
from faulty import run
from written_run import make_records, panel_of, write_run

from aux_rnn.config.serialization import with_settings
from aux_rnn.plots.curves import draw_curves
from aux_rnn.plots.report import save_report
from aux_rnn.plots.style import plot_style, render
from aux_rnn.storage.metrics_file import read_records
from aux_rnn.storage.workdir import WorkdirError, save_reconstructions


@pytest.fixture
def config(tiny):
    return with_settings(tiny, auxiliary="reconstruct", clip_norm=0.75)


def test_curves_show_every_number_with_its_unit_and_the_phases(config):
    with plot_style("curves"):
        figure = draw_curves(make_records(), config, "title")
        svg = render(figure, "svg").decode()
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "supervised loss (nats)",
        "reconstruction loss (squared error)",
        "accuracy (%)",
        "gradient norm, before clipping",
    ]
    accuracy = panel_of(figure, "accuracy")
    train, validation, test, boundary = accuracy.lines
    np.testing.assert_allclose(train.get_xydata(), [[1.5, 37.5], [2.0, 50.0], [3.0, 75.0]])
    assert validation.get_xydata().tolist() == test.get_xydata().tolist() == [[3.0, 62.5]]
    assert set(boundary.get_xdata()) == {1.0}
    assert {text.get_text() for text in accuracy.texts} == {"pretraining", "joint training"}
    loss = panel_of(figure, "supervised").lines[0].get_ydata()
    assert math.isnan(loss[1]), "what was not finite leaves a gap"
    assert panel_of(figure, "gradient").get_yscale() == "log"
    for label in ("accuracy (%)", "epoch", "pretraining", "training batches", "validation", "clipped at 0.75"):
        assert f">{label}</text>" in svg


def test_units_of_the_auxiliary_loss_follow_the_data_and_the_loss(config):
    tokens = (dict(pixel_loss="softmax"), dict(dataset="digits_text", image_size=0), dict(dataset="token-arrays-0"))
    for changes in tokens:
        figure = draw_curves(make_records(), with_settings(config, **changes), "title")
        assert panel_of(figure, "reconstruction").get_ylabel() == "reconstruction loss (nats)"


@pytest.mark.parametrize("ending", ["svg", pytest.param("png", marks=pytest.mark.slow)])
def test_the_same_records_give_the_same_bytes(config, ending):
    with plot_style("curves"):
        first, again = (render(draw_curves(make_records(), config, "title"), ending) for _ in range(2))
    assert first == again


def test_a_missing_backend_of_a_notebook_does_not_prevent_figures(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    code = "from aux_rnn.plots.style import Figure, render; assert render(Figure(), 'png')"
    assert run([sys.executable, "-c", code]).code == 0


class Page(html.parser.HTMLParser):
    """All tags with what they refer to, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.references, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.text += data


def test_the_report_is_one_page_that_needs_nothing_else(config, tmp_path):
    located = with_settings(config, manual_dir="<b>&'\"")
    summary = dict(results=dict(validation=dict(accuracy=0.625, supervised_loss=1.5), test=dict(accuracy=0.5125)))
    summary |= dict(seconds=61.0, seconds_by_section=dict(train=12.3), devices="1 x cpu", machine=dict(cpu="A & B"))
    path = tmp_path / "run"
    write_run(path, located, **summary)
    for step in (20, 3):
        save_reconstructions(path, step, b"picture")
    made = save_report(path)
    assert [str(file.relative_to(path)) for file in made] == ["report.html", "plots/curves.png", "plots/curves.svg"]
    text = made[0].read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("img") == 2
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not re.search(r"url\((?!#)|@import", text)
    assert re.search(r"training time \(s\)\s*12\.3", page.text)
    for shown in ("r-LSTM on digits, seed 0", "62.5", "51.25", "A & B", "<b>&'\"", "0:01:01", "hidden_size"):
        assert shown in page.text
    assert shlex.quote("--manual_dir=<b>&'\"") in page.text
    assert page.text.index("After 20 steps.") < page.text.index("After 3 steps.")


def test_a_report_of_a_run_that_has_not_ended_says_so(config, tmp_path):
    path = tmp_path / "run"
    write_run(path, with_settings(config, auxiliary="none"))
    page = Page(save_report(path)[0].read_text())
    assert "unfinished after 30 steps, 3 epochs" in page.text
    assert "no scores yet" in page.text
    assert "has no decoder" in page.text


def test_what_cannot_be_reported_is_said_in_one_line(config, tmp_path):
    with pytest.raises(WorkdirError, match="holds no run"):
        save_report(tmp_path)
    path = tmp_path / "run"
    write_run(path, config)
    (path / "metrics.jsonl").write_text("")
    with pytest.raises(WorkdirError, match="has no records"):
        read_records(path)
    (path / "metrics.jsonl").write_text('{"kind": "train"}\n')
    with pytest.raises(WorkdirError, match=r"metrics\.jsonl: cannot be read"):
        read_records(path)
