"""A run's folder kept at an address: here in the memory of fsspec, which stands for gs:// and the like."""

import importlib
import json

import fsspec
import pytest
from modes import carry_out_together

from aux_rnn import mirror as mirror_lib
from aux_rnn.config import from_flat, to_flat
from aux_rnn.distributed import SINGLE_PROCESS
from aux_rnn.interruption import StopRequest
from aux_rnn.mirror import MirrorError, TakenOverError, is_address, open_address
from aux_rnn.settings import ConfigError
from aux_rnn.training import train_and_evaluate


@pytest.fixture
def address(tmp_path):
    """An address of its own for every test."""
    yield f"memory://{tmp_path.name}/run"
    fsspec.filesystem("memory").store.clear()


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def read(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def opened(address):
    mirror = open_address(address)
    mirror.claim()
    return mirror


def test_what_was_copied_comes_back(address, tmp_path):
    write(tmp_path / "a", summary="1", checkpoints__3__state__x="22", checkpoints__3__meta="333")
    opened(address).push(tmp_path / "a")
    (tmp_path / "b").mkdir()
    open_address(address).fetch(tmp_path / "b")
    assert read(tmp_path / "b") == read(tmp_path / "a")


def test_an_address_where_nothing_lies_gives_nothing(address, tmp_path):
    open_address(address).fetch(tmp_path)
    assert read(tmp_path) == {}


def test_only_what_changed_is_copied_and_what_is_gone_is_removed(address, tmp_path, monkeypatch):
    folder = tmp_path / "a"
    write(folder, one="1", two="2", checkpoints__1__x="x")
    mirror = opened(address)
    mirror.push(folder)
    put = type(mirror._filesystem).put_file
    copied = []
    monkeypatch.setattr(
        type(mirror._filesystem), "put_file", lambda self, a, b, **k: (copied.append(a), put(self, a, b, **k))
    )
    write(folder, two="22", checkpoints__2__x="y")
    (folder / "checkpoints/1/x").unlink()
    mirror.push(folder)
    assert sorted(name.removeprefix(f"{folder}/") for name in copied) == ["checkpoints/2/x", "two"]
    (tmp_path / "b").mkdir()
    open_address(address).fetch(tmp_path / "b")
    assert read(tmp_path / "b") == {"one": "1", "two": "22", "checkpoints/2/x": "y"}


def test_half_written_files_and_the_lock_stay_here(address, tmp_path):
    write(tmp_path / "a", **{".lock": "", "summary.json.partial": "", "checkpoints__4.orbax-checkpoint-tmp__x": ""})
    opened(address).push(tmp_path / "a")
    open_address(address).fetch(tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_records_go_before_the_checkpoints_that_cover_them_and_the_summary_goes_last(tmp_path):
    write(tmp_path, **{"summary.json": "", "metrics.jsonl": "", "config.json": "", "checkpoints__2__meta__x": ""})
    names = list(mirror_lib.list_files(tmp_path))
    assert names == ["config.json", "metrics.jsonl", "checkpoints/2/meta/x", "summary.json"]


def test_names_that_lead_elsewhere_are_not_followed(tmp_path):
    class Hostile:
        def exists(self, path):
            return True

        def find(self, path):
            return ["root/../../evil", "root/good"]

        def get_file(self, path, target):
            (tmp_path / "into" / "good").write_text(path) if path == "root/good" else pytest.fail(path)

    (tmp_path / "into").mkdir()
    mirror_lib.Mirror("x://root", Hostile(), "root").fetch(tmp_path / "into")
    assert read(tmp_path / "into") == {"good": "root/good"}


def test_the_run_that_was_started_last_has_the_address(address, tmp_path):
    write(tmp_path / "a", one="1")
    first = opened(address)
    first.push(tmp_path / "a")
    opened(address)
    write(tmp_path / "a", one="2")
    with pytest.raises(TakenOverError, match="another run was started there and goes on; this one ends"):
        first.push(tmp_path / "a")
    open_address(address).fetch(tmp_path / "b")
    assert read(tmp_path / "b") == {"one": "1"}


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    def lacking(address):
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(mirror_lib.fsspec, "url_to_fs", lacking)
    with pytest.raises(
        ConfigError, match=r"--workdir=gs://b/r: gs:// needs a package .*; pip install 'aux_rnn\[gcs\]'"
    ):
        open_address("gs://b/r")


def test_an_unknown_kind_of_address_is_refused():
    with pytest.raises(ConfigError, match=r"--workdir=abc://x: cannot be used \(Protocol not known: abc\)"):
        open_address("abc://x")
    assert [is_address(path) for path in ("runs/x", "/a:/b", "gs://b")] == [False, False, True]


class Flaky:
    """Stands before a file system and fails while it is told to."""

    def __init__(self, filesystem):
        self._filesystem, self.is_down = filesystem, False

    def __getattr__(self, name):
        if self.is_down:
            raise ConnectionError("no route to host")
        return getattr(self._filesystem, name)


def test_a_network_that_fails_is_reported_in_one_line(address, tmp_path):
    mirror = opened(address)
    mirror._filesystem = Flaky(mirror._filesystem)
    mirror._filesystem.is_down = True
    write(tmp_path / "a", one="1")
    for work in (lambda: mirror.push(tmp_path / "a"), lambda: mirror.fetch(tmp_path / "b"), mirror.claim):
        with pytest.raises(MirrorError, match=r"--workdir=memory://.*: cannot be (written|read) \(no route to host\)"):
            work()
    mirror._filesystem.is_down = False
    mirror.push(tmp_path / "a")
    open_address(address).fetch(tmp_path / "b")
    assert read(tmp_path / "b") == {"one": "1"}


def begin(address, folder):
    """What a start on a new machine does: an empty folder, filled from the address."""
    folder.mkdir()
    mirror = open_address(address)
    mirror.fetch(folder)
    return mirror


@pytest.fixture
def tiny(tiny):
    return from_flat({**to_flat(tiny), "auxiliary": "reconstruct", "num_anchors": 1})


def test_a_run_goes_on_on_another_machine_from_what_was_copied(address, tiny, quiet, tmp_path, monkeypatch):
    alone = train_and_evaluate(tiny, tmp_path / "alone", quiet)
    mirror = begin(address, tmp_path / "first")
    run_lib = importlib.import_module("aux_rnn.run")
    save = run_lib.Run.save

    def vanish(self):
        save(self)
        if self.step == 6:
            raise SystemExit  # the machine is gone: nothing more is written or said

    monkeypatch.setattr(run_lib.Run, "save", vanish)
    with pytest.raises(SystemExit):
        train_and_evaluate(tiny, tmp_path / "first", quiet, mirror=mirror)
    monkeypatch.setattr(run_lib.Run, "save", save)
    mirror = begin(address, tmp_path / "second")
    assert "6" in {p.name for p in (tmp_path / "second/checkpoints").iterdir()}
    again = train_and_evaluate(tiny, tmp_path / "second", quiet, mirror=mirror)
    assert again["params_digest"] == alone["params_digest"]
    begin(address, tmp_path / "third")
    assert json.loads((tmp_path / "third/summary.json").read_text()) == again


def test_what_is_made_from_a_run_at_an_address_is_put_there(address, tiny, quiet, tmp_path, capsys):
    train_and_evaluate(tiny, tmp_path / "run", quiet, mirror=begin(address, tmp_path / "run"))
    for mode in ("reconstruct", "report", "predict"):
        assert carry_out_together(mode, tiny, address, StopRequest(), SINGLE_PROCESS, "latest", "test") == 0
    begin(address, tmp_path / "copy")
    made = set(read_bytes(tmp_path / "copy")) - set(read_bytes(tmp_path / "run"))
    pictures = {f"plots/{name}" for name in ("reconstructions-9.png", "curves.png", "curves.svg", "confusion-test.png")}
    assert made == {*pictures, "report.html", "predictions-test.npz"}
    assert f"{address}/report.html" in capsys.readouterr().out.splitlines()


def test_a_network_that_fails_for_a_while_does_not_end_the_run(address, tiny, quiet, tmp_path, monkeypatch):
    mirror = begin(address, tmp_path / "run")
    mirror._filesystem = Flaky(mirror._filesystem)
    run_lib = importlib.import_module("aux_rnn.run")
    save = run_lib.Run.save

    def save_while_down(self):
        mirror._filesystem.is_down = self.step < 8
        save(self)
        mirror._filesystem.is_down = False

    monkeypatch.setattr(run_lib.Run, "save", save_while_down)
    summary = train_and_evaluate(tiny, tmp_path / "run", quiet, mirror=mirror)
    assert summary["status"] == "complete"
    begin(address, tmp_path / "copy")
    here, there = ({k: v for k, v in read_bytes(tmp_path / name).items() if k != ".lock"} for name in ("run", "copy"))
    assert here == there


def read_bytes(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
