"""PyTorch's training step, as a worker process measures it."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from aux_rnn.config import SequenceSpec, from_flat
from aux_rnn.memory import peak_process_mib
from benchmarking.batches import make_batch
from benchmarking.pytorch import make_step

DEVICES = {"cpu": "cpu", "gpu": "cuda"}  # by the platform's name in JAX


class Program:
    """Answers a worker's requests, in the order of the methods."""

    def load(self, settings: Mapping[str, Any], spec: Mapping[str, Any], platform: str) -> dict[str, Any]:
        """Settles what is measured, on the kind of device that ours has.

        Args:
          settings: as `to_flat` makes them.
          spec: the sequences, as ours found them.
          platform: as JAX names it, 'cpu' or 'gpu'.

        Returns:
          `devices` and `versions`.
        """
        self.config, self.spec, self.device = from_flat(settings), SequenceSpec(**spec), DEVICES[platform]
        devices = f"{torch.get_num_threads()} threads"
        if self.device == "cuda":
            devices = torch.cuda.get_device_name()
            torch.backends.cudnn.allow_tf32 = False  # Our products do not round their factors either.
        return {"devices": devices, "versions": {"torch": torch.__version__}}

    def prepare(self) -> dict[str, Any]:
        """Warms up."""
        self.train = make_step(self.config, self.spec, self.device)
        self.batch = make_batch(self.spec, self.config.run.batch_size, self.config.run.seed)
        for _ in range(2):
            self.step()
        return {}

    def step(self) -> float:
        """The seconds of one step, the batch's way to the device included."""
        begin = time.perf_counter()
        self.loss = self.train(self.batch)
        return time.perf_counter() - begin

    def finish(self) -> dict[str, Any]:
        """`peak_memory_mib` so far, and the last step's `loss`."""
        peak = torch.cuda.max_memory_allocated() / 2**20 if self.device == "cuda" else peak_process_mib()
        return {"peak_memory_mib": peak, "loss": self.loss}
