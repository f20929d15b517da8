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
from torch import Tensor, nn

from aux_rnn.config.fields import ConfigError, Truncation, reject
from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.system.memory import peak_process_mib
from benchmarking.batches import make_batch

State = tuple[Tensor, Tensor]  # h and c, each [layers, R, H]
NOTE = "one anchor per batch instead of one per example; no --decoder_input_dropout and no permutation of the pixels"


def make_head(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Decoder(nn.Module):
    """Decodes a segment from the encoder's state at the anchor."""

    def __init__(self, config: Config, spec: SequenceSpec) -> None:
        super().__init__()
        model, bottom = config.model, config.model.decoder_sizes[0]
        self.truncation = steps_of(model.decoder_truncation, model.segment_length)
        self.embedding = nn.Linear(spec.channels, model.embedding_size)
        is_same = bottom == model.hidden_size
        self.map_h, self.map_c = (nn.Identity() if is_same else nn.Linear(model.hidden_size, bottom) for _ in "hc")
        self.lstm = nn.LSTM(model.embedding_size, bottom, num_layers=len(model.decoder_sizes))
        self.head = make_head((model.decoder_sizes[-1], *model.decoder_head_sizes, spec.channels))

    def forward(self, state: State, previous: Tensor) -> Tensor:
        """Returns `[S, R, C]` from states `[1, R, H]` and the element before each target, `[S, R, C]`."""
        upper = (self.lstm.num_layers - 1, *state[0].shape[1:-1], self.lstm.hidden_size)
        mapped = self.map_h(state[0]), self.map_c(state[1])
        carry = tuple(torch.cat([bottom, bottom.new_zeros(upper)]) for bottom in mapped)
        hidden = []
        for chunk in self.embedding(previous).split(self.truncation):
            output, carry = self.lstm(chunk, carry)
            carry = tuple(s.detach() for s in carry)
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

    def encode(self, inputs: Tensor, windows: Sequence[tuple[int, Truncation]]) -> list[State]:
        """Returns the state at the end of every window `(end, T)` of `inputs`, `[L, B, C]`."""
        begins = [end - steps_of(truncation, end) for end, truncation in windows]
        # A window that begins with the sequence is part of the first pass, which then needs a gradient up to its end.
        stops = [begin or end for begin, (end, _) in zip(begins, windows, strict=True)]
        differentiable = max((stop for begin, stop in zip(begins, stops, strict=True) if begin == 0), default=0)
        zeros = inputs.new_zeros(1, inputs.shape[1], self.lstm.hidden_size)
        states = {0: (zeros, zeros)}
        for last, stop in itertools.pairwise([0, *sorted(set(stops) - {0})]):
            with torch.set_grad_enabled(stop <= differentiable):
                states[stop] = self.advance(inputs[last:stop], states[last])
        results = [states[stop] for stop in stops]
        truncated = {k: end - begins[k] for k, (end, _) in enumerate(windows) if begins[k]}
        for steps in set(truncated.values()):  # windows of the same length are rows of one call
            group = [k for k in truncated if truncated[k] == steps]
            rows = torch.cat([inputs[begins[k] : begins[k] + steps] for k in group], dim=1)
            h, c = (torch.cat([results[k][part].detach() for k in group], dim=1) for part in (0, 1))
            h, c = self.advance(rows, (h, c))
            for k, *state in zip(group, h.chunk(len(group), 1), c.chunk(len(group), 1), strict=True):
                results[k] = (state[0], state[1])
        return results

    def forward(self, inputs: Tensor, labels: Tensor, anchors: Mapping[str, int]) -> Tensor:
        """Returns the training loss of `inputs`, float32 `[L, B, C]`."""
        model = self.model
        windows = [(len(inputs), model.supervised_truncation)]
        windows += [(anchors[kind], model.auxiliary_truncation) for kind in model.auxiliaries]
        final, *states = self.encode(inputs, windows)
        loss = nn.functional.cross_entropy(self.head(final[0][0]), labels)
        padded = torch.cat([inputs.new_zeros(1, *inputs.shape[1:]), inputs])
        for kind, state in zip(model.auxiliaries, states, strict=True):
            begin = anchors[kind] - (model.segment_length if kind == "reconstruct" else 0)
            span = slice(begin, begin + model.segment_length)
            errors = nn.functional.mse_loss(self.decoders[kind](state, padded[span]), inputs[span])
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

    def load(self, config: Config, spec: SequenceSpec, platform: str) -> None:
        """Raises ConfigError for sequences of tokens and for a platform of JAX that PyTorch does not have."""
        if spec.vocabulary_size:
            raise reject("dataset", config.data.dataset, "a data set of pixels for peer")
        if platform not in ("cpu", "gpu"):
            raise ConfigError(f"peer: JAX runs on a {platform}; the comparison needs a CPU or a GPU")
        self.config, self.spec, self.device = config, spec, "cuda" if platform == "gpu" else "cpu"
        torch.backends.cudnn.allow_tf32 = False  # float32 products, as in JAX

    def prepare(self) -> None:
        """Creates the network and its optimizer and runs two steps to warm up."""
        rule, seed = self.config.optimizer, self.config.run.seed
        torch.manual_seed(seed)
        self.random = np.random.default_rng(seed)
        self.network = Network(self.config, self.spec).to(self.device)
        parameters = self.network.parameters()
        self.optimizer = torch.optim.RMSprop(parameters, rule.learning_rate, alpha=rule.rmsprop_decay)
        self.batch = make_batch(self.spec, self.config.run.batch_size, seed)
        for _ in range(2):
            self.step()

    def step(self) -> float:
        """Runs a step and returns its seconds, including the transfer of the batch."""
        begin = time.perf_counter()
        pixels = torch.as_tensor(self.batch["inputs"]).to(self.device).squeeze(2).float() / 255
        labels = torch.as_tensor(self.batch["labels"]).long().to(self.device)
        self.optimizer.zero_grad()
        loss = self.network(pixels.swapaxes(0, 1), labels, draw_anchors(self.config, self.spec.length, self.random))
        loss.backward()
        if self.config.optimizer.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.config.optimizer.clip_norm)
        self.optimizer.step()
        self.loss = loss.item()
        return time.perf_counter() - begin

    def finish(self) -> dict[str, Any]:
        """Returns the part of a record that the process knows: devices, version, memory in MiB, loss, differences."""
        is_cuda = self.device == "cuda"
        return {
            "devices": torch.cuda.get_device_name() if is_cuda else f"{torch.get_num_threads()} threads",
            "versions": {"torch": torch.__version__},
            "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20 if is_cuda else peak_process_mib(),
            "loss": self.loss,
            "notes": [NOTE],
        }
