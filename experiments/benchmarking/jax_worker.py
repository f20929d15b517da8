"""The training step of this project, which `measurements.Worker` runs."""

import dataclasses
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
from aux_rnn.datasets import find_dataset
from aux_rnn.datasets.permutation import make_permutation
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.flops import count_training_step
from aux_rnn.system.memory import describe_devices, peak_memory_mib
from aux_rnn.training.compilation import compile_step
from aux_rnn.training.experiment import check_step
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import replicate, shard
from aux_rnn.training.steps import create_train_state, make_steps
from benchmarking.batches import make_batch

PRODUCTS = 2  # in a row, which makes the time to start them negligible


class Program:
    """Measures one configuration; its methods are called in this order."""

    def load(self, config: Config, length: int) -> tuple[SequenceSpec, str]:
        """Returns the form of the sequences, with `length` steps unless it is 0, and JAX's platform.

        Raises ConfigError or DataError if a setting does not fit the data set, the length or the devices.
        """
        configure_jax(config.run.batch_size)
        self.config, self.dataset = config, find_dataset(config.data)
        spec = self.dataset.sequence_spec(config.data)
        self.spec = dataclasses.replace(spec, length=length or spec.length)
        check_step(config, self.spec)
        return self.spec, jax.default_backend()

    def prepare(self) -> None:
        """Compiles the step and runs it twice to warm up."""
        config, spec = self.config, self.spec
        plan = Plan.of(config, steps_per_epoch=1_000)  # any number: the schedule costs nothing
        permutation = make_permutation(spec.length, config.data.permutation_seed) if self.dataset.permuted else None
        self.steps = make_steps(config, spec, plan, permutation)
        self.state = replicate(create_train_state(config, spec, plan))
        batch = make_batch(spec, config.run.batch_size, config.run.seed)
        self.batch = shard(batch)
        compiled = compile_step(self.steps.train, self.state, self.batch)
        self.facts = {
            "compile_seconds": compiled.seconds,
            "scratch_mib": compiled.step_bytes * jax.local_device_count() / 2**20 or None,
            "gflop": 2e-9 * count_training_step(config, spec, "train", folded=True),
        }
        for _ in range(2):
            self.step()

    def step(self) -> float:
        """Runs a step and returns its seconds, including the transfer of the batch."""
        begin = time.perf_counter()
        self.state = jax.block_until_ready(self.steps.train(self.state, self.batch))
        return time.perf_counter() - begin

    def measure_product(self, size: int) -> float:
        """Returns GFLOP/s of all devices, each multiplying two float32 matrices `[size, size]`."""
        # In full float32 like the step: by default, GPUs and TPUs round the factors.
        multiply = jax.pmap(partial(jax.lax.dot, precision=jax.lax.Precision.HIGHEST))
        devices = jax.local_device_count()
        # Entries of this size keep the product of products finite.
        matrix = np.random.default_rng(0).normal(0, size**-0.5, (devices, size, size)).astype(np.float32)
        right = jax.pmap(lambda x: x)(matrix)
        left = jax.block_until_ready(multiply(right, right))
        begin = time.perf_counter()
        for _ in range(PRODUCTS):
            left = multiply(left, right)
        jax.block_until_ready(left)
        return 2e-9 * devices * PRODUCTS * size**3 / (time.perf_counter() - begin)

    def finish(self) -> dict[str, Any]:
        """Returns the part of a record that the process knows: devices, versions, compilation, memory in MiB, loss."""
        return {
            "devices": describe_devices(),
            "versions": {module.__name__: module.__version__ for module in (jax, jaxlib, flax)},
            **self.facts,
            "peak_memory_mib": peak_memory_mib(),
            "loss": metrics_lib.compute(self.state.metrics)["loss"],
        }
