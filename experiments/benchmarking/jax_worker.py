"""The training step of this project, which `measurements.Worker` runs."""

import sys
import time
from functools import partial
from typing import Any

import flax
import jax
import jaxlib
import numpy as np
from cli.environment import configure_jax

from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.flops import count_training_step
from aux_rnn.system.memory import describe_devices, peak_memory_mib
from aux_rnn.training.compilation import compile_step
from aux_rnn.training.experiment import check_step
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import replicate, shard
from aux_rnn.training.steps import create_train_state, make_steps

PRODUCT_SIZE = 2_048
PRODUCTS = 4  # at once, which makes the time to start them negligible


class Program:
    """Measures one configuration; `prepare` is called first."""

    def prepare(self, config: Config, spec: SequenceSpec, batch: dict[str, Any]) -> None:
        """Compiles the step. Raises ConfigError if a setting does not fit the sequences or the devices."""
        configure_jax(config.run.batch_size)
        check_step(config, spec)
        print(f"compiling for {spec.length:,} steps, --recurrence={config.model.recurrence}", file=sys.stderr)
        plan = Plan.of(config, steps_per_epoch=1_000)  # any number: the schedule costs nothing
        self.train = make_steps(config, spec, plan).train
        self.state = replicate(create_train_state(config, spec, plan))
        self.batch = shard(batch)
        compiled = compile_step(self.train, self.state, self.batch)
        self.facts = {
            "compile_seconds": compiled.seconds,
            "scratch_mib": compiled.step_bytes * jax.local_device_count() / 2**20 or None,
            "gflop": 2e-9 * count_training_step(config, spec, "train", folded=True),
        }

    def step(self) -> float:
        """Runs a step and returns its seconds, including the transfer of the batch."""
        begin = time.perf_counter()
        self.state = jax.block_until_ready(self.train(self.state, self.batch))
        return time.perf_counter() - begin

    def describe(self) -> dict[str, Any]:
        """Returns the program's part of a record: devices, versions, compilation, memory in MiB, loss, GFLOP/s."""
        return {
            "devices": describe_devices(),
            "versions": {module.__name__: module.__version__ for module in (jax, jaxlib, flax)},
            **self.facts,
            "peak_memory_mib": peak_memory_mib(),
            "loss": metrics_lib.compute(self.state.metrics)["loss"],
            "product_gflop_per_second": measure_product(PRODUCT_SIZE),
        }


def measure_product(size: int) -> float:
    """Returns GFLOP/s of all devices, each multiplying two float32 matrices `[size, size]`."""
    # In full float32 like the step: by default, GPUs and TPUs round the factors.
    multiply = jax.pmap(partial(jax.lax.dot, precision=jax.lax.Precision.HIGHEST))
    factor = np.random.default_rng(0).random((jax.local_device_count(), size, size), np.float32)
    factor = jax.block_until_ready(multiply(factor, factor))  # compiles, and is on the devices
    begin = time.perf_counter()
    jax.block_until_ready([multiply(factor, factor) for _ in range(PRODUCTS)])
    return 2e-9 * PRODUCTS * factor.size * size / (time.perf_counter() - begin)
