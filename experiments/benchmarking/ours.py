"""Our training step, as a worker process measures it."""

import dataclasses
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import flax
import jax
import jaxlib
import numpy as np

from aux_rnn import metrics as metrics_lib
from aux_rnn.config import Config, SequenceSpec, from_flat
from aux_rnn.cost import count_training_step
from aux_rnn.datasets import DataError, find_dataset, sequence_spec
from aux_rnn.experiment import check_step
from aux_rnn.memory import describe_devices, peak_memory_mib
from aux_rnn.plan import Plan
from aux_rnn.sequences import make_permutation
from aux_rnn.settings import ConfigError
from aux_rnn.steps import create_train_state, make_steps, replicate, shard
from benchmarking.batches import make_batch

PRODUCTS = 2  # in a row, beside which the time to start them is small


class Program:
    """Answers a worker's requests, in the order of the methods."""

    config: Config
    spec: SequenceSpec

    def load(self, settings: Mapping[str, Any], length: int, phase: str) -> dict[str, Any]:
        """Settles what is measured, before any work.

        Args:
          settings: as `to_flat` makes them.
          length: L, 0 for the data set's.
          phase: 'train' or 'pretrain'.

        Returns:
          `spec`, `platform`, `devices` and `versions`.

        Raises:
          ConfigError: a setting does not fit the data set, the length or the devices.
        """
        self.config, self.phase = from_flat(settings), phase
        try:
            spec = sequence_spec(self.config.data)
            self.is_permuted = find_dataset(self.config.data).permuted
        except DataError as error:
            raise ConfigError(str(error)) from error
        self.spec = dataclasses.replace(spec, length=length) if length else spec
        check_step(self.config, self.spec)
        return {
            "spec": dataclasses.asdict(self.spec),
            "platform": jax.default_backend(),
            "devices": describe_devices(),
            "versions": {module.__name__: module.__version__ for module in (jax, jaxlib, flax)},
        }

    def prepare(self) -> dict[str, Any]:
        """Traces, compiles and warms up.

        Returns:
          `trace_seconds`, `compile_seconds`, `scratch_mib` (of all devices together; None where XLA does not say) and
          `gflop`, what a step needs.
        """
        plan = Plan.of(self.config, steps_per_epoch=1_000)  # any number: the schedule costs nothing
        permutation = (
            make_permutation(self.spec.length, self.config.data.permutation_seed) if self.is_permuted else None
        )
        self.train = getattr(make_steps(self.config, self.spec, plan, permutation), self.phase)
        self.state = replicate(create_train_state(self.config, self.spec, plan))
        self.batch = shard(make_batch(self.spec, self.config.run.batch_size, self.config.run.seed))
        begin = time.perf_counter()
        lowered = self.train.lower(self.state, self.batch)
        traced = time.perf_counter()
        compiled = lowered.compile()
        ready = time.perf_counter()
        memory = compiled.memory_analysis()
        # The compiled program is only looked at: what is timed is the ordinary call, as training makes it. Its first
        # one finds the program in the compilation cache.
        for _ in range(2):
            self.step()
        return {
            "trace_seconds": traced - begin,
            "compile_seconds": ready - traced,
            "scratch_mib": memory and memory.temp_size_in_bytes * jax.local_device_count() / 2**20,
            "gflop": 2e-9 * count_training_step(self.config, self.spec, self.phase, folded=True),
        }

    def step(self) -> float:
        """The seconds of one step, the batch's way to the devices included."""
        begin = time.perf_counter()
        self.state = jax.block_until_ready(self.train(self.state, self.batch))
        return time.perf_counter() - begin

    def measure_product(self, size: int) -> float:
        """GFLOP/s of all devices together, each on the product of two float32 matrices `[size, size]`."""
        # As exact as the step's: left to themselves GPUs and TPUs round the factors.
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
        """`peak_memory_mib` so far, and the mean `loss` of the last steps."""
        return {"peak_memory_mib": peak_memory_mib(), "loss": metrics_lib.compute(self.state.metrics)["loss"]}
