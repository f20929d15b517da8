"""Four CPU devices for every test, and a tiny experiment that trains in seconds."""

import os

# Most of the tests' time is compilation, of programs that run for milliseconds: the compiler need not try hard.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

from aux_rnn.config import Config, from_flat


def pytest_configure(config: pytest.Config) -> None:
    """Compiles each program once, in this session or an earlier one."""
    for name, value in (
        ("jax_compilation_cache_dir", str(config.cache.mkdir("jax"))),
        ("jax_persistent_cache_min_compile_time_secs", 0),
    ):
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the processes that tests start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the tests that take more than half a minute, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; --slow runs it"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of prepared data, shared by the whole session."""
    return str(tmp_path_factory.mktemp("data"))


@pytest.fixture
def tiny(data_dir: str) -> Config:
    """Digits shrunk to 16 pixels, 24 training examples, 3 + 6 steps."""
    return from_flat(
        dict(
            dataset="digits",
            data_dir=data_dir,
            image_size=4,
            train_examples=24,
            auxiliary="both",
            embedding_size=4,
            hidden_size=6,
            head_sizes=(5,),
            decoder_sizes=(6, 5),
            decoder_head_sizes=(5,),
            segment_length=5,
            num_anchors=2,
            supervised_truncation=4,
            auxiliary_truncation=3,
            decoder_truncation="full",
            batch_size=8,
            pretrain_epochs=1,
            train_epochs=2,
            log_every_steps=2,
            checkpoint_every_steps=2,
            pictures=False,
        )
    )
