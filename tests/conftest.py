"""Four CPU devices for every test, and a tiny experiment that trains in seconds."""

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faulty import INTERRUPTED, SETTINGS, XLA_FLAGS, Undisturbed, command, interrupt

os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} --xla_force_host_platform_device_count=4"
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aux_rnn.config.serialization import from_flat
from aux_rnn.config.settings import Config
from aux_rnn.training import experiment
from aux_rnn.training import steps as steps_lib
from aux_rnn.training.progress import Progress, null_progress


def pytest_configure(config: pytest.Config) -> None:
    """Compiles each program once, in this session or an earlier one."""
    for name, value in (
        ("jax_compilation_cache_dir", str(config.cache.mkdir("jax"))),
        ("jax_persistent_cache_min_compile_time_secs", 0),
    ):
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the processes that tests start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests marked slow or faults, too")
    parser.addoption("--all", action="store_true", help="run all tests, including those marked long: hours")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips the slower tests, unless an option or `-m` asks for them."""
    runs_all = config.getoption("--all")
    runs_slow = runs_all or config.getoption("--slow")
    selected = set(re.findall(r"\w+", config.getoption("markexpr")))
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if marks & selected & {"slow", "faults", "long"}:
            continue
        if "long" in marks and not runs_all:
            item.add_marker(pytest.mark.skip(reason="long; --all runs it"))
        elif marks & {"slow", "faults"} and not runs_slow:
            item.add_marker(pytest.mark.skip(reason="slow; --slow runs it"))


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Frees what a file's tests have compiled: pmap keeps it, and Linux allows a process 65,530 mappings only."""
    yield
    jax.clear_caches()


# A few configurations that several files use, each of which keeps about 1,000 mappings.
find_shared_steps = functools.lru_cache(maxsize=8)(experiment.find_steps.__wrapped__)


init_params = steps_lib.init_params


@functools.cache
def find_params(model: Any, key: tuple[int, ...]) -> Any:
    """Returns initial parameters on the host."""
    return jax.device_get(init_params(model, jax.random.wrap_key_data(np.array(key, np.uint32))))


@functools.cache
def find_shapes(model: Any) -> Any:
    return jax.eval_shape(functools.partial(init_params, model), jax.random.key(0))


def init_shared_params(model: Any, key: jax.Array) -> Any:
    """Returns what `init_params` returns, in new arrays, which a step may reuse; only shapes count in a trace."""
    if isinstance(key, jax.core.Tracer):
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), find_shapes(model))
    return jax.tree.map(jnp.array, find_params(model, tuple(jax.random.key_data(key).tolist())))


@pytest.fixture(scope="module")
def shared_steps() -> Iterator[None]:
    """Compiles steps and initial parameters once per configuration for all runs and files, whatever their seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "find_steps", find_shared_steps)
        patch.setattr(steps_lib, "init_params", init_shared_params)
        yield


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of prepared data, shared by the whole session."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> Undisturbed:
    """A run of the command that the tests of faults disturb."""
    return Undisturbed.run(tmp_path_factory.mktemp("undisturbed") / "run", data_dir)


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory, data_dir: str) -> Path:
    """The same, interrupted with several checkpoints; to be copied."""
    workdir = tmp_path_factory.mktemp("interrupted") / "run"
    assert interrupt(command(workdir, data_dir)).code == INTERRUPTED
    return workdir


@pytest.fixture
def float64() -> Iterator[None]:
    """Computes in float64, where rounding cannot hide or excuse a difference."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def quiet() -> Iterator[Progress]:
    """A progress that shows nothing."""
    with null_progress() as progress:
        yield progress


@pytest.fixture(scope="session")
def tiny(data_dir: str) -> Config:
    """Returns digits shrunk to 16 pixels, 24 training examples, 3 + 6 steps, with little to compile."""
    return from_flat({**SETTINGS, "data_dir": data_dir, "train_epochs": 2, "log_every_steps": 2})
