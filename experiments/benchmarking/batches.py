"""Makes random batches of the right shape; the speed of a step does not depend on their values."""

from typing import Any

import numpy as np

from aux_rnn.config.spec import SequenceSpec


def make_batch(spec: SequenceSpec, batch_size: int, seed: int) -> dict[str, Any]:
    """Makes a batch as the training loop has it before it is divided over devices.

    Returns:
      `inputs` uint8 `[B, L, 1, C]` (an image of one column is a sequence of any length) or, for tokens, `[B, L]`,
      padded on the left, with their `lengths` int32 `[B]`, from half of L to L; `labels` and `rows` int32 and `mask`
      bool `[B]`.
    """
    random = np.random.default_rng(seed)
    batch = {
        "labels": random.integers(0, spec.num_classes, batch_size, np.int32),
        "rows": np.arange(batch_size, dtype=np.int32),
        "mask": np.ones(batch_size, bool),
    }
    if not spec.vocabulary_size:
        return {"inputs": random.integers(0, 256, (batch_size, spec.length, 1, spec.channels), np.uint8), **batch}
    tokens = random.integers(1, min(spec.vocabulary_size, 256), (batch_size, spec.length), np.uint8)
    lengths = random.integers((spec.length + 1) // 2, spec.length + 1, batch_size, np.int32)
    tokens[np.arange(spec.length) < spec.length - lengths[:, None]] = 0
    return {"inputs": tokens, "lengths": lengths, **batch}
