"""The same training step in PyTorch, written for speed: prefix, windows and decoder are single calls of `nn.LSTM`.

One anchor serves the whole batch, where this project draws one per example: rows of different lengths would cost
PyTorch a packed sequence or a loop.
"""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from cli.environment import has_accelerator
from torch import Tensor, nn

from aux_rnn.config.fields import ConfigError, Truncation
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.system.memory import peak_process_mib

State = tuple[Tensor, Tensor]  # h and c, each [layers, R, H]
NOTE = "one anchor per batch instead of one per example; no --decoder_input_dropout"


def make_head(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Decoder(nn.Module):
    """Decodes a segment from the encoder's state at the anchor."""

    def __init__(self, config: Config, spec: SequenceSpec) -> None:
        super().__init__()
        model, size = config.model, config.model.decoder_sizes[0]
        self.truncation = steps_of(model.decoder_truncation, model.segment_length)
        self.embedding = nn.Linear(spec.channels, model.embedding_size)
        is_same = size == model.hidden_size
        self.map_h, self.map_c = (nn.Identity() if is_same else nn.Linear(model.hidden_size, size) for _ in "hc")
        self.lstm = nn.LSTM(model.embedding_size, size, num_layers=len(model.decoder_sizes))
        self.head = make_head((size, *model.decoder_head_sizes, spec.channels))

    def forward(self, state: State, previous: Tensor) -> Tensor:
        """Returns `[S, R, C]` from states `[1, R, H]` and the element before each target, `[S, R, C]`."""
        upper = (0, 0, 0, 0, 0, self.lstm.num_layers - 1)  # whose states are zeros
        h, c = (nn.functional.pad(bottom, upper) for bottom in (self.map_h(state[0]), self.map_c(state[1])))
        hidden = []
        for chunk in self.embedding(previous).split(self.truncation):
            output, (h, c) = self.lstm(chunk, (h, c))
            h, c = h.detach(), c.detach()
            hidden.append(output)
        return self.head(torch.cat(hidden))


class Network(nn.Module):
    """An encoder, its classifier and one decoder per auxiliary loss."""

    def __init__(self, config: Config, spec: SequenceSpec) -> None:
        super().__init__()
        self.model = model = config.model
        self.embedding = nn.Linear(spec.channels, model.embedding_size)
        self.lstm = nn.LSTM(model.embedding_size, model.hidden_size)
        self.head = make_head((model.hidden_size, *model.head_sizes, spec.num_classes))
        self.decoders = nn.ModuleDict({kind: Decoder(config, spec) for kind in model.auxiliaries})

    def advance(self, inputs: Tensor, state: State) -> State:
        """Returns the state after more elements, `[steps, R, C]`."""
        return self.lstm(self.embedding(inputs), state)[1] if len(inputs) else state

    def encode(self, inputs: Tensor, windows: Sequence[tuple[int, int]]) -> list[State]:
        """Returns the state at the end of every window `(begin, end)` of `inputs`, `[L, B, C]`."""
        # A window that begins with the sequence is part of the first pass, which then needs a gradient up to its end.
        stops = sorted({begin or end for begin, end in windows})
        differentiable = max((end for begin, end in windows if begin == 0), default=0)
        zeros = inputs.new_zeros(1, inputs.shape[1], self.lstm.hidden_size)
        states = {0: (zeros, zeros)}
        for last, stop in itertools.pairwise([0, *stops]):
            with torch.set_grad_enabled(stop <= differentiable):
                states[stop] = self.advance(inputs[last:stop], states[last])
        results = {(begin, end): states[end] for begin, end in windows if begin == 0}
        for steps in {end - begin for begin, end in windows if begin}:  # windows of one length are rows of one call
            group = [(begin, end) for begin, end in windows if begin and end - begin == steps]
            rows = torch.cat([inputs[begin:end] for begin, end in group], dim=1)
            h, c = (torch.cat([states[begin][part].detach() for begin, _ in group], dim=1) for part in (0, 1))
            h, c = self.advance(rows, (h, c))
            results |= zip(group, zip(h.chunk(len(group), 1), c.chunk(len(group), 1), strict=True), strict=True)
        return [results[window] for window in windows]

    def forward(self, inputs: Tensor, labels: Tensor, anchors: Mapping[str, int]) -> Tensor:
        """Returns the training loss of `inputs`, float32 `[L, B, C]`."""
        model = self.model
        ends = [(len(inputs), model.supervised_truncation)]
        ends += [(anchors[kind], model.auxiliary_truncation) for kind in model.auxiliaries]
        final, *states = self.encode(inputs, [(end - steps_of(truncation, end), end) for end, truncation in ends])
        loss = nn.functional.cross_entropy(self.head(final[0][0]), labels)
        previous = nn.functional.pad(inputs[:-1], (0, 0, 0, 0, 1, 0))
        for kind, state in zip(model.auxiliaries, states, strict=True):
            begin = anchors[kind] - (model.segment_length if kind == "reconstruct" else 0)
            span = slice(begin, begin + model.segment_length)
            errors = nn.functional.mse_loss(self.decoders[kind](state, previous[span]), inputs[span])
            loss = loss + model.auxiliary_weight * errors
        return loss


def steps_of(truncation: Truncation, steps: int) -> int:
    return steps if truncation == "full" else min(int(truncation), steps)


def draw_anchors(config: Config, length: int, random: np.random.Generator) -> dict[str, int]:
    """Returns one anchor for the batch per auxiliary loss."""
    segment = config.model.segment_length
    allowed = {"reconstruct": (segment, length), "predict": (1, length - segment)}
    return {kind: int(random.integers(*allowed[kind], endpoint=True)) for kind in config.model.auxiliaries}


class Program:
    """Measures the step, as `jax_worker.Program` does."""

    def prepare(self, config: Config, spec: SequenceSpec, batch: dict[str, Any]) -> None:
        """Creates the network and its optimizer. Raises ConfigError if JAX has an accelerator and PyTorch has none."""
        if has_accelerator() and not torch.cuda.is_available():
            raise ConfigError("peer: PyTorch finds no GPU, unlike JAX; JAX_PLATFORMS=cpu compares both on the CPU")
        self.config, self.batch, self.device = config, batch, "cuda" if has_accelerator() else "cpu"
        torch.backends.cudnn.allow_tf32 = False  # float32 products, as in JAX
        torch.manual_seed(config.run.seed)
        self.random = np.random.default_rng(config.run.seed)
        self.network = Network(config, spec).to(self.device)
        rule = config.optimizer
        self.optimizer = torch.optim.RMSprop(self.network.parameters(), rule.learning_rate, alpha=rule.rmsprop_decay)

    def step(self) -> float:
        """Runs a step and returns its seconds, including the transfer of the batch."""
        begin = time.perf_counter()
        pixels = torch.as_tensor(self.batch["inputs"]).to(self.device).float() / 255
        labels = torch.as_tensor(self.batch["labels"]).to(self.device).long()
        self.optimizer.zero_grad()
        loss = self.network(pixels.swapaxes(0, 1), labels, draw_anchors(self.config, pixels.shape[1], self.random))
        loss.backward()
        if self.config.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimizer.clip_norm)
        self.optimizer.step()
        self.loss = loss.item()
        return time.perf_counter() - begin

    def describe(self) -> dict[str, Any]:
        """Returns the program's part of a record: devices, version, memory in MiB, loss, differences."""
        is_cuda = self.device == "cuda"
        return {
            "devices": torch.cuda.get_device_name() if is_cuda else f"{torch.get_num_threads()} threads",
            "versions": {"torch": torch.__version__},
            "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if is_cuda else peak_process_mib(),
            "loss": self.loss,
            "notes": [NOTE],
        }
