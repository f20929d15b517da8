"""What is settled before JAX starts: devices, memory and the cache of compiled programs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import environment

MAIN = Path(__file__).parent.parent / "experiments" / "main.py"


@pytest.mark.parametrize(
    ("batch_size", "cores", "expected"),
    [
        (128, 1, 1),
        (128, 2, 2),
        (128, 4, 4),
        (128, 64, 8),  # 16 examples each
        (128, 6, 4),  # a divisor of the batch
        (96, 5, 4),
        (31, 8, 1),
        (33, 2, 1),
    ],
)
def test_devices_divide_the_batch_and_have_enough_of_it(batch_size, cores, expected):
    assert environment.choose_devices(batch_size, cores) == expected


def make(given=None, cpu_devices=0, has_accelerator=False):
    return environment.make_variables(given or {}, 128, cpu_devices, has_accelerator, cores=2)


def test_what_is_set_already_is_left_alone():
    given = {"JAX_COMPILATION_CACHE_DIR": "here", "GLIBC_TUNABLES": "x", "XLA_FLAGS": f"{environment.DEVICE_COUNT}=4"}
    assert set(make(given)) == {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"}


def test_a_number_of_devices_that_was_asked_for_wins():
    assert make(cpu_devices=3)["XLA_FLAGS"] == f"{environment.DEVICE_COUNT}=3"
    asked = make({"XLA_FLAGS": f"{environment.DEVICE_COUNT}=4"}, cpu_devices=3)
    assert asked["XLA_FLAGS"].endswith(f"{environment.DEVICE_COUNT}=3"), "XLA takes the last"


def test_other_flags_of_xla_stay():
    assert make({"XLA_FLAGS": "--xla_dump_to=d"})["XLA_FLAGS"] == f"--xla_dump_to=d {environment.DEVICE_COUNT}=2"


def test_beside_an_accelerator_the_cpu_stays_as_it_is():
    assert {"XLA_FLAGS", "GLIBC_TUNABLES"}.isdisjoint(make(has_accelerator=True))


def test_the_cache_is_in_the_users_folder():
    assert make({"XDG_CACHE_HOME": "/cache"})["JAX_COMPILATION_CACHE_DIR"] == "/cache/aux_rnn/compiled"


def test_nothing_is_changed_once_jax_is_there(monkeypatch):
    before = dict(os.environ)
    monkeypatch.setattr(os, "execv", lambda *arguments: pytest.fail("started anew"))
    environment.prepare(128)
    assert dict(os.environ) == before


def test_a_run_has_the_devices_asked_for_and_fills_the_cache(tmp_path, data_dir):
    """Through the real command, which starts itself anew, once, where the C library is glibc."""
    ours = ("XLA_FLAGS", "GLIBC_TUNABLES", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    sizes = "--embedding_size=2 --hidden_size=2 --head_sizes=2 --image_size=4 --auxiliary=none --train_examples=24"
    settings = f"--dataset=digits --batch_size=12 --supervised_truncation=2 --train_epochs=1 {sizes}".split()
    command = [sys.executable, str(MAIN), *settings, f"--data_dir={data_dir}", f"--workdir={tmp_path}/run"]
    environment_with_cache = {**clean, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "--cpu_devices=3"], env=environment_with_cache, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "on 3 cpu devices" in done.stderr
    assert any((tmp_path / "cache/aux_rnn/compiled").iterdir())
