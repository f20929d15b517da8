"""Devices and the compilation cache, as the program configures them before JAX starts."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli import environment
from faulty import XLA_FLAGS

MAIN = Path(__file__).parents[3] / "experiments" / "main.py"


class Jax:
    """Stands in for `jax`, of which the tests have one that has started."""

    def __init__(self, cache=None):
        self.values = {"jax_compilation_cache_dir": cache}
        self.config = self
        self.update = self.values.__setitem__


@pytest.mark.parametrize(
    ("variables", "cache", "arguments", "cores", "devices"),
    [
        ({}, None, (128,), 2, 2),
        ({}, "own", (128, 3), 2, 3),
        ({"XLA_FLAGS": f"{environment.DEVICE_COUNT}=4"}, "own", (128,), 2, None),
        ({"JAX_NUM_CPU_DEVICES": "4"}, "own", (128,), 2, None),
        ({"JAX_NUM_CPU_DEVICES": "4"}, "own", (128, 3), 2, 3),
        ({}, "own", (128,), 1, 1),
        ({}, "own", (128,), 64, 8),  # 16 examples each
        ({}, "own", (128,), 6, 4),  # a divisor of the batch
        ({}, "own", (31,), 8, 1),
    ],
)
def test_devices_and_cache_fit_where_the_user_has_chosen_none(variables, cache, arguments, cores, devices, monkeypatch):
    for name in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"XDG_CACHE_HOME": "/cache", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(environment, "usable_cores", lambda: range(cores))
    monkeypatch.setitem(sys.modules, "jax", jax := Jax(cache))
    environment.configure_jax(*arguments)
    assert jax.values["jax_compilation_cache_dir"] == (cache or "/cache/aux_rnn/compiled")
    assert jax.values.get("jax_num_cpu_devices") == devices


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: (_ for _ in ()).throw(RuntimeError)))
    assert environment.cache_folder() is None


@pytest.mark.parametrize(
    ("plugin", "libtpu", "device", "expected"),
    [
        ("xla_cuda12", None, "nvidia0", True),
        ("xla_cuda12", None, "none", False),  # installed to compile for hardware that is not present
        ("", None, "nvidia0", False),  # JAX for CPUs on a machine with a GPU
        ("another", None, "none", True),
        ("", "libtpu", "none", False),
        ("", "libtpu", "accel0", True),
    ],
)
def test_an_accelerator_is_a_plugin_of_jax_with_a_device(plugin, libtpu, device, expected, monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(environment, "find_spec", lambda name: libtpu)
    monkeypatch.setattr(environment, "entry_points", lambda group: [SimpleNamespace(name=plugin)] if plugin else [])
    (tmp_path / device).touch()
    assert environment.has_accelerator(tmp_path) == expected
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert not environment.has_accelerator(tmp_path)


def test_jax_does_not_look_for_hardware_that_is_only_compiled_for(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr(environment, "find_spec", lambda name: name)
    monkeypatch.setattr(environment, "has_accelerator", lambda: False)
    monkeypatch.setitem(sys.modules, "jax", jax := Jax())
    environment.configure_jax(128)
    assert jax.values["jax_platforms"] == "cpu"


@pytest.mark.slow
def test_a_run_has_the_devices_asked_for_and_fills_the_cache(tmp_path, data_dir):
    """Through the real command, in a Python process that runs before and that it does not replace."""
    ours = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")
    clean = {name: value for name, value in os.environ.items() if name not in ours}
    sizes = "--embedding_size=2 --hidden_size=2 --head_sizes=2 --image_size=4 --auxiliary=none --train_examples=24"
    others = "--dataset=digits --batch_size=12 --supervised_truncation=2 --train_epochs=1 --nopictures"
    settings = f"{sizes} {others}".split()
    arguments = [str(MAIN), *settings, f"--data_dir={data_dir}", f"--workdir={tmp_path}/run", "--cpu_devices=3"]
    program = f"import runpy, sys; print('host'); sys.argv = {arguments}; sys.path.insert(0, {str(MAIN.parent)!r})"
    program += f"; runpy.run_path({str(MAIN)!r}, run_name='__main__')"
    variables = {**clean, "XDG_CACHE_HOME": str(tmp_path / "cache"), "XLA_FLAGS": XLA_FLAGS}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "on 3 cpu devices" in done.stderr
    assert done.stdout.count("host\n") == 1
    assert any((tmp_path / "cache/aux_rnn/compiled").iterdir())
