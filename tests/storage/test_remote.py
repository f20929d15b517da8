"""Runs at addresses: the clients gcsfs and s3fs with emulators of Google Cloud Storage and S3 on this machine."""

import json
import logging
import socket
import tempfile
import threading
import time
import types
import uuid

import fsspec
import pytest
from cli.command_line import RunFlags
from fsspec.registry import known_implementations
from gcp_storage_emulator.server import create_server
from modes.dispatch import run_mode_on_all
from moto.server import ThreadedMotoServer

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import with_settings
from aux_rnn.distributed import SINGLE_PROCESS
from aux_rnn.storage.addresses import is_address, local_copy, open_remote
from aux_rnn.storage.remote import OwnershipLostError, RemoteCopy, RemoteError
from aux_rnn.storage.workdir import WorkdirError
from aux_rnn.system.signals import StopRequest
from aux_rnn.training.loop import Loop
from aux_rnn.training.train import train_and_evaluate

pytestmark = pytest.mark.usefixtures("shared_steps")


class GoogleStorage:
    """An emulator of Google Cloud Storage, which can be stopped and started again."""

    def __init__(self, folder):
        with socket.create_server(("localhost", 0)) as free:
            self.folder, self.port = str(folder), free.getsockname()[1]
        self.start()

    def start(self):
        self._server = create_server("localhost", self.port, data_dir=self.folder, default_bucket="bucket")
        self._server.start()

    def close(self):
        self._server.stop()


def wait_for(is_done):
    deadline = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module", autouse=True)
def gs(tmp_path_factory):
    """Starts both emulators and returns that of Google Cloud Storage."""
    gs, s3 = GoogleStorage(tmp_path_factory.mktemp("gs")), ThreadedMotoServer("localhost", port=0, verbose=False)
    s3.start()
    variables = dict(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="us-east-1")
    variables["AWS_ENDPOINT_URL"] = "http://{}:{}".format(*s3.get_host_and_port())
    variables["STORAGE_EMULATOR_HOST"] = f"http://localhost:{gs.port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        patch.setattr(logging.getLogger("gcsfs"), "level", logging.CRITICAL)
        fsspec.filesystem("s3").mkdir("bucket")
        yield gs
    gs.close()
    s3.stop()


@pytest.fixture(params=["gs", "s3", "memory"])
def address(request):
    return f"{request.param}://bucket/{uuid.uuid4().hex}/run"


@pytest.fixture
def gs_address():
    return f"gs://bucket/{uuid.uuid4().hex}/run"


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def gs_server(gs, monkeypatch):
    """The server of gs://, whose absence is noticed without waiting."""
    monkeypatch.setattr("gcsfs.retry.random", types.SimpleNamespace(random=lambda: -60.0))
    yield gs
    gs.close()
    gs.start()


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def read(folder):
    return {str(p.relative_to(folder)): p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file()}


def owned(address, folder):
    remote = open_remote(address)
    remote.take_ownership(folder)
    return remote


def downloaded(address, folder):
    open_remote(address).download(folder)
    return read(folder)


def test_complete_files_and_later_their_changes_are_copied_and_removed_files_disappear(address, tmp_path, monkeypatch):
    files = {"config.json": "1", "metrics.jsonl": "", "checkpoints/1/x": "x", "checkpoints/1/y": "y"}
    partial = {".lock": "", "summary.json.partial": "", "checkpoints/4.orbax-checkpoint-tmp/x": ""}
    assert downloaded(address, tmp_path / "empty") == {}
    folder = write(tmp_path / "a", {**files, **partial})
    remote = owned(address, folder)
    remote.sync(folder)
    assert downloaded(address, tmp_path / "b") == files
    put, copied = remote._filesystem.put, []
    monkeypatch.setattr(remote._filesystem, "put", lambda here, there: (copied.extend(here), put(here, there)))
    changes = {"metrics.jsonl": "22", "checkpoints/2/x": "y", "summary.json": "1"}  # in the order of their upload
    write(folder, changes)
    for name in "xy":
        (folder / f"checkpoints/1/{name}").unlink()
    remote.sync(folder)
    assert copied == [str(folder / name) for name in changes]
    assert downloaded(address, tmp_path / "c") == {"config.json": "1", **changes}


def test_leaving_ends_an_upload_early_and_without_a_warning(tmp_path, monkeypatch, caplog):
    """The file of the first group is being copied; those of the others are not."""
    address = f"memory://bucket/{uuid.uuid4().hex}/run"
    remote = owned(address, write(tmp_path / "a", {"metrics.jsonl": "1", "checkpoints/1/x": "x", "summary.json": "1"}))
    put, begun, may_end = remote._put, threading.Event(), threading.Event()

    def put_late(*arguments):
        begun.set()
        may_end.wait(60)
        put(*arguments)

    monkeypatch.setattr(remote, "_put", put_late)
    remote.upload(tmp_path / "a")
    assert begun.wait(60)
    closing = threading.Thread(target=remote.close)
    closing.start()
    wait_for(lambda: remote._is_closed)
    may_end.set()
    closing.join()
    assert downloaded(address, tmp_path / "b") == {"metrics.jsonl": "1"}
    assert "training continues" not in caplog.text


def test_names_outside_of_the_folder_are_ignored():
    found = {"root/../../evil": {"type": "file"}, "root/good": {"type": "file"}, "root/folder": {"type": "directory"}}
    filesystem = types.SimpleNamespace(invalidate_cache=lambda: None, find=lambda path, detail: found)
    assert list(RemoteCopy("x://root", filesystem, "root")._list()) == ["good"]


def test_the_run_that_was_started_last_owns_the_address_with_what_the_former_one_wrote(address, tmp_path):
    folder = write(tmp_path / "a", {"records": "1", "checkpoints/1/x": "x"})
    first = owned(address, folder)
    first.sync(folder)
    second = open_remote(address)
    second.download(tmp_path / "b")
    (folder / "checkpoints/1/x").unlink()
    latest = {"records": "12", "checkpoints/2/x": "y"}
    first.sync(write(folder, latest))
    second.take_ownership(tmp_path / "b")
    assert read(tmp_path / "b") == latest
    assert not (tmp_path / "b/checkpoints/1").exists()
    first.upload(write(folder, {"records": "123"}))
    wait_for(first._latest.done)
    for work in (first.upload, first.sync):
        with pytest.raises(OwnershipLostError, match=f"workdir={address}: another run was started"):
            work(folder)
    assert downloaded(address, tmp_path / "c") == latest


def test_a_file_that_is_removed_during_the_download_is_left_out(address, tmp_path, monkeypatch):
    folder = write(tmp_path / "a", {"checkpoints/1/x": "x", "checkpoints/2/x": "y"})
    owned(address, folder).sync(folder)
    remote = open_remote(address)
    get, removed = remote._filesystem.get, []

    def remove_and_get(there, here):
        if not removed:
            removed.append(str(remote._root / "checkpoints/1/x"))
            remote._filesystem.rm(removed)
        get(there, here)

    monkeypatch.setattr(remote._filesystem, "get", remove_and_get)
    remote.download(tmp_path / "b")
    assert read(tmp_path / "b") == {"checkpoints/2/x": "y"}


@pytest.mark.parametrize("protocol", ["gs", "s3"])
def test_a_missing_bucket_is_refused_and_not_made(protocol, tiny, temporary, capsys):
    address = f"{protocol}://no-such-bucket/run"
    assert run_mode_on_all(tiny, RunFlags(workdir=address), SINGLE_PROCESS, StopRequest()) == 2
    assert f"error: --workdir={address}: there is no bucket no-such-bucket" in capsys.readouterr().err
    with pytest.raises(RemoteError, match="cannot be written"):
        owned(address, temporary)
    assert not fsspec.filesystem(protocol).exists("no-such-bucket")
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("needs://x", "cannot be used (Install a package)"),
        ("gs://", "must name a bucket"),
        ("s3:///run", "must name a bucket"),
        ("gs://bucket/run*", "must not contain any of"),
    ],
)
def test_an_unusable_address_is_refused(address, message, monkeypatch):
    needs = {"class": "missing.FileSystem", "err": "Install a package"}
    monkeypatch.setitem(known_implementations, "needs", needs)
    assert is_address(address)
    assert not is_address("/a:/b")
    with pytest.raises(ConfigError) as caught:
        open_remote(address)
    assert str(caught.value).startswith(f"workdir={address}: {message}")


def test_an_outage_is_logged_once_and_the_next_upload_copies_the_rest(gs_address, gs_server, tmp_path, caplog):
    folder = write(tmp_path / "a", {"one": "1"})
    remote = owned(gs_address, folder)
    gs_server.close()
    for text in "23":
        remote.upload(write(folder, {"one": text}))
        wait_for(remote._latest.done)
        assert remote.upload_failed
    with pytest.raises(RemoteError, match=f"workdir={gs_address}: cannot be written"):
        remote.sync(folder)
    assert len([record for record in caplog.records if gs_address in record.getMessage()]) == 1
    gs_server.start()
    remote.sync(folder)
    assert not remote.upload_failed
    assert downloaded(gs_address, tmp_path / "b") == {"one": "3"}


def test_errors_name_the_address_and_leave_nothing_behind(temporary):
    address = "memory://bucket/run"
    with pytest.raises(WorkdirError) as caught, local_copy(address) as (folder, _):  # noqa: PT012
        write(folder, {"one": "1"})
        raise WorkdirError(f"workdir={folder}: holds no run")
    assert str(caught.value) == f"workdir={address}: holds no run"
    assert not list(temporary.iterdir())


def test_after_a_failed_upload_the_folder_stays_and_is_named(gs_address, gs_server, temporary):
    with pytest.raises(RemoteError) as caught, local_copy(gs_address) as (folder, remote):  # noqa: PT012
        remote.take_ownership(write(folder, {"one": "1"}))
        gs_server.close()
        remote.sync(folder)
    assert f"the latest results are in {folder};" in str(caught.value)
    assert read(folder) == {"one": "1"}


def train_at(address, config, quiet):
    with local_copy(address) as (folder, remote):
        return train_and_evaluate(config, folder, quiet, remote=remote)


def after_save(monkeypatch, step, action):
    """Calls `action` once, after the run has saved at a step."""
    save = Loop.save

    def save_and_act(self):
        save(self)
        if self.step == step:
            monkeypatch.setattr(Loop, "save", save)
            action()

    monkeypatch.setattr(Loop, "save", save_and_act)


# What each mode makes of a run.
PRODUCTS = {
    "report": {"report.html", "plots/curves.png", "plots/curves.svg"},
    "predict": {"predictions-test.npz", "plots/confusion-test.png"},
    "reconstruct": {"plots/reconstructions-9.png"},
}


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "modes"), [("gs", ("report",)), ("s3", tuple(PRODUCTS))])
def test_a_run_continues_on_another_machine(protocol, modes, tiny, quiet, tmp_path, temporary, monkeypatch, capsys):
    address = f"{protocol}://bucket/{uuid.uuid4().hex}"
    alone = train_and_evaluate(tiny, tmp_path / "alone", quiet)

    def vanish():
        filesystem, root = fsspec.url_to_fs(address)
        wait_for(lambda: any("/checkpoints/" in name for name in filesystem.find(root)))
        raise SystemExit

    after_save(monkeypatch, 6, vanish)
    with pytest.raises(SystemExit):
        train_at(address, tiny, quiet)
    assert not list(temporary.iterdir())
    again = train_at(address, tiny, quiet)
    assert again["params_digest"] == alone["params_digest"]
    assert json.loads(downloaded(address, tmp_path / "copy")["summary.json"]) == again
    copied, expected = ({tuple(n.split("/")[:2]) for n in read(tmp_path / f)} for f in ("copy", "alone"))
    assert copied == expected - {(".lock",)}
    for mode in modes:
        assert run_mode_on_all(tiny, RunFlags(mode, address), SINGLE_PROCESS, StopRequest()) == 0
    made = set(downloaded(address, tmp_path / "products")) - set(read(tmp_path / "copy"))
    assert made == set().union(*(PRODUCTS[mode] for mode in modes))
    assert f"{address}/report.html" in capsys.readouterr().out.splitlines()


@pytest.mark.slow
def test_a_second_run_takes_over_from_a_running_one(gs_address, tiny, quiet, tmp_path, monkeypatch):
    second, config = [], with_settings(tiny, auxiliary="none")
    after_save(monkeypatch, 4, lambda: second.append(train_at(gs_address, config, quiet)))
    with pytest.raises(OwnershipLostError, match=f"workdir={gs_address}: another run was started"):
        train_at(gs_address, config, quiet)
    assert second[0]["status"] == "complete"
    assert json.loads(downloaded(gs_address, tmp_path)["summary.json"]) == second[0]
