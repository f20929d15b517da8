"""The training step of this project, as `worker.py` runs it."""

import dataclasses
import time
from functools import partial
from typing import Any

import flax
import jax
import jaxlib
import numpy as np

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import DataError, find_dataset, sequence_spec
from aux_rnn.datasets.permutation import make_permutation
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.flops import count_training_step
from aux_rnn.system.memory import describe_devices, peak_memory_mib
from aux_rnn.training.experiment import check_step
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import replicate, shard
from aux_rnn.training.steps import create_train_state, make_steps
from benchmarking.batches import make_batch

PRODUCTS = 2  # in a row, which makes the time to start them negligible


class Program:
    """Measures one configuration; its methods are called in this order."""

    def load(self, config: Config, length: int, phase: str) -> tuple[SequenceSpec, str]:
        """Returns what the sequences are, with `length` steps unless it is 0, and JAX's platform.

        Raises:
          ConfigError: a setting does not fit the data set, the length or the devices.
        """
        self.config, self.phase = config, phase
        try:
            spec = sequence_spec(config.data)
            self.is_permuted = find_dataset(config.data).permuted
        except DataError as error:
            raise ConfigError(str(error)) from error
        self.spec = dataclasses.replace(spec, length=length or spec.length)
        check_step(config, self.spec)
        return self.spec, jax.default_backend()

    def prepare(self) -> None:
        """Traces, compiles and runs two steps to warm up."""
        config, spec = self.config, self.spec
        plan = Plan.of(config, steps_per_epoch=1_000)  # any number: the schedule costs nothing
        permutation = make_permutation(spec.length, config.data.permutation_seed) if self.is_permuted else None
        self.train = getattr(make_steps(config, spec, plan, permutation), self.phase)
        self.state = replicate(create_train_state(config, spec, plan))
        self.batch = shard(make_batch(spec, config.run.batch_size, config.run.seed))
        begin = time.perf_counter()
        lowered = self.train.lower(self.state, self.batch)
        traced = time.perf_counter()
        memory = lowered.compile().memory_analysis()
        self.facts: dict[str, Any] = {
            "trace_seconds": traced - begin,
            "compile_seconds": time.perf_counter() - traced,
            "scratch_mib": memory and memory.temp_size_in_bytes * jax.local_device_count() / 2**20,
            "gflop": 2e-9 * count_training_step(config, spec, self.phase, folded=True),
        }
        # Steps are ordinary calls, as in training; the first one finds the program in the compilation cache.
        for _ in range(2):
            self.step()

    def step(self) -> float:
        """Runs a step and returns its seconds, including the transfer of the batch."""
        begin = time.perf_counter()
        self.state = jax.block_until_ready(self.train(self.state, self.batch))
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
        """Returns what a record says of the program: devices, versions, compilation, memory in MiB, loss."""
        return {
            "devices": describe_devices(),
            "versions": {module.__name__: module.__version__ for module in (jax, jaxlib, flax)},
            **self.facts,
            "peak_memory_mib": peak_memory_mib(),
            "loss": metrics_lib.compute(self.state.metrics)["loss"],
        }
