"""Two dozen sequences of six steps in three classes, and a network that `aux_rnn.fit` trains on them in seconds."""

import numpy as np
from flax import linen as nn

FLOATS = np.random.default_rng(0).random((24, 6, 2), np.float32).astype(float)  # exact in float32
LABELS = np.arange(24) % 3
SMALL_NETWORK = dict(embedding_size=3, hidden_size=4, head_sizes=(4,), decoder_sizes=(4,), decoder_head_sizes=(4,))
SMALL_NETWORK |= dict(segment_length=3, supervised_truncation=3, auxiliary_truncation=2, batch_size=8, train_epochs=1)


def own_cell(size: int) -> nn.RNNCellBase:
    """Returns a cell that is not one of flax.linen with its defaults."""
    return nn.GRUCell(size, gate_fn=nn.tanh)
