"""Recall: a class shown at the first step must be named after the last, with noise between. Any length.

Step 0 shows the class c as the grey value 28 c; all later steps are uniform noise that says nothing. A network
succeeds only if it remembers as long as the sequence is. The numbers are raw output of NumPy's PCG64, which NumPy
promises not to change, so a length means the same sequences everywhere.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.datasets.builders import Arrays, SequentialImages

DEFAULT_LENGTH = 64
NUM_CLASSES = 10
GREY_STEP = 28
EXAMPLES = {"train": 10_000, "test": 1_000}
SEEDS = {"train": 0, "test": 1}
PIECE_BYTES = 1 << 24


@dataclasses.dataclass(eq=False, kw_only=True)
class LengthConfig(tfds.core.BuilderConfig):
    """A number of steps, at least 2."""

    length: int


def length_config(length: int) -> LengthConfig:
    return LengthConfig(name=f"length_{length}", description=f"Sequences of {length:,} steps.", length=length)


class SequentialRecall(SequentialImages):
    """11,000 synthetic sequences of a given length, stored as images of one row."""

    class_names = tuple("0123456789")
    description = "Recall: a class shown at the first step, noise at all others."
    homepage = "https://arxiv.org/abs/1803.00144"

    # tfds asks for a list of all configurations, warns of any other, and takes other names for mistakes.
    def _create_builder_config(self, builder_config: Any, version: Any) -> LengthConfig:
        if isinstance(builder_config, LengthConfig):
            return builder_config
        name = builder_config or f"length_{DEFAULT_LENGTH}"
        length = name.removeprefix("length_")
        if not (length.isdecimal() and int(length) >= 2):
            raise ValueError(f"{name}: must be length_N with N of at least 2")
        return length_config(int(length))

    def input_shape(self) -> tuple[int, int, int]:
        return 1, self.builder_config.length, 1

    def read_split(self, split: str) -> Iterator[Arrays]:
        length = self.builder_config.length
        bits = np.random.PCG64(SEEDS[split])
        labels = (bits.random_raw(EXAMPLES[split]) % NUM_CLASSES).astype(np.int64)
        words = -(-length // 8)
        piece = max(1, PIECE_BYTES // (8 * words))
        for start in range(0, len(labels), piece):
            classes = labels[start : start + piece]
            # Little-endian by name: the bytes are the same on every machine.
            noise = bits.random_raw(len(classes) * words).astype("<u8").view(np.uint8).reshape(len(classes), -1)
            sequences = noise[:, :length].copy()
            sequences[:, 0] = classes * GREY_STEP
            yield sequences[:, None, :, None], classes
