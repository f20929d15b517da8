"""The training step as a good PyTorch programmer would write it: what ours is measured against.

Everything that PyTorch offers for speed is used: `nn.LSTM`, whose steps and layers run inside one kernel call, for the
prefix, the windows and all layers of the decoder; the prefix without gradients; windows as rows of one call;
`detach` where gradients are cut. One anchor serves the whole batch, where ours draws one for each example: rows of
different lengths would cost PyTorch a packed sequence or a loop. Losses, sizes, batch and optimizer are ours.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aux_rnn.config import Config, SequenceSpec
from aux_rnn.settings import Truncation

State = tuple[Tensor, Tensor]  # h and c, each [layers, R, H]


def make_head(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


class Decoder(nn.Module):
    """Produces a segment from the encoder's state at the anchor."""

    def __init__(self, config: Config, spec: SequenceSpec) -> None:
        super().__init__()
        model = config.model
        bottom = model.decoder_sizes[0]
        self.truncation = steps_of(model.decoder_truncation, model.segment_length)
        self.embedding = nn.Linear(spec.channels, model.embedding_size)
        is_as_it_is = bottom == model.hidden_size
        self.map_h, self.map_c = (
            nn.Identity() if is_as_it_is else nn.Linear(model.hidden_size, bottom) for _ in range(2)
        )
        self.lstm = nn.LSTM(model.embedding_size, bottom, num_layers=len(model.decoder_sizes))
        self.head = make_head((model.decoder_sizes[-1], *model.decoder_head_sizes, spec.channels))

    def forward(self, state: State, previous: Tensor) -> Tensor:
        """`[S, R, C]` from states `[1, R, H]` and the element before each target, `[S, R, C]`."""
        layers = self.lstm.num_layers
        carry = tuple(
            torch.cat([mapped, mapped.new_zeros(layers - 1, *mapped.shape[1:])])
            for mapped in (self.map_h(state[0]), self.map_c(state[1]))
        )
        hidden = []
        for chunk in self.embedding(previous).split(self.truncation):
            put_out, carry = self.lstm(chunk, carry)
            carry = tuple(s.detach() for s in carry)
            hidden.append(put_out)
        return self.head(torch.cat(hidden))


class Network(nn.Module):
    """An encoder, its classifier and one decoder for each auxiliary loss."""

    def __init__(self, config: Config, spec: SequenceSpec) -> None:
        super().__init__()
        model = config.model
        self.config, self.spec = config, spec
        self.embedding = nn.Linear(spec.channels, model.embedding_size)
        self.lstm = nn.LSTM(model.embedding_size, model.hidden_size)
        self.head = make_head((model.hidden_size, *model.head_sizes, spec.num_classes))
        self.decoders = nn.ModuleDict({kind: Decoder(config, spec) for kind in model.auxiliaries})

    def advance(self, inputs: Tensor, state: State) -> State:
        """The state after more elements, `[steps, R, C]`."""
        return self.lstm(self.embedding(inputs), state)[1] if len(inputs) else state

    def capture(self, inputs: Tensor, positions: Sequence[int], differentiable: int) -> dict[int, State]:
        """`s[p]` for every position, in one pass whose gradient reaches the states up to `differentiable`."""
        zeros = inputs.new_zeros(1, inputs.shape[1], self.lstm.hidden_size)
        at, state, states = 0, (zeros, zeros), {}
        for position in sorted(set(positions)):
            with torch.set_grad_enabled(position <= differentiable):
                states[position] = state = self.advance(inputs[at:position], state)
            at = position
        return states

    def encode(self, inputs: Tensor, windows: Sequence[tuple[int, Truncation]]) -> list[State]:
        """`s[end]` of every window `(end, T)` of `inputs`, `[L, B, C]`."""
        ends = [end for end, _ in windows]
        starts = [end - steps_of(truncation, end) for end, truncation in windows]
        # A window that starts with the sequence is part of the first pass, which then needs a gradient up to its end.
        uncut = [end for start, end in zip(starts, ends, strict=True) if start == 0]
        captured = [start or end for start, end in zip(starts, ends, strict=True)]
        states = self.capture(inputs, captured, max(uncut, default=0))
        results = [states[position] for position in captured]
        cut = [k for k, start in enumerate(starts) if start]
        for steps in {ends[k] - starts[k] for k in cut}:
            group = [k for k in cut if ends[k] - starts[k] == steps]
            rows = torch.cat([inputs[starts[k] : ends[k]] for k in group], dim=1)
            h, c = (torch.cat([results[k][part].detach() for k in group], dim=1) for part in (0, 1))
            h, c = self.advance(rows, (h, c))
            for k, *state in zip(group, h.chunk(len(group), 1), c.chunk(len(group), 1), strict=True):
                results[k] = (state[0], state[1])
        return results

    def forward(self, inputs: Tensor, labels: Tensor, anchors: Mapping[str, int]) -> Tensor:
        """The training loss of `inputs`, float32 `[L, B, C]`."""
        model, length = self.config.model, len(inputs)
        windows = [(length, model.supervised_truncation)]
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
    """One anchor for the batch and each auxiliary loss."""
    segment = config.model.segment_length
    allowed = {"reconstruct": (segment, length), "predict": (1, length - segment)}
    return {kind: int(random.integers(allowed[kind][0], allowed[kind][1] + 1)) for kind in config.model.auxiliaries}


def make_step(config: Config, spec: SequenceSpec, device: str = "cpu") -> Callable[[Mapping[str, Any]], float]:
    """The function that takes a batch through one training step and returns the loss."""
    torch.manual_seed(config.run.seed)
    network = Network(config, spec).to(device)
    rule, rate = config.optimizer, config.optimizer.learning_rate
    optimizer = {
        "rmsprop": lambda: torch.optim.RMSprop(network.parameters(), rate, alpha=rule.rmsprop_decay),
        "adam": lambda: torch.optim.Adam(network.parameters(), rate),
        "sgd": lambda: torch.optim.SGD(network.parameters(), rate),
    }[rule.optimizer]()
    random = np.random.default_rng(config.run.seed)

    def step(batch: Mapping[str, Any]) -> float:
        pixels = torch.as_tensor(batch["inputs"]).to(device)
        pixels = pixels.reshape(len(pixels), -1, spec.channels).float() / 255
        labels = torch.as_tensor(batch["labels"]).long().to(device)
        optimizer.zero_grad()
        loss = network(pixels.swapaxes(0, 1), labels, draw_anchors(config, pixels.shape[1], random))
        loss.backward()
        if rule.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), rule.clip_norm)
        optimizer.step()
        return loss.item()

    return step
