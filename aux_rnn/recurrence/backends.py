"""Selects how a recurrence is computed.

A new backend is a class with the methods of `Backend` and a line in `BACKENDS`.
"""

from typing import Any, Protocol

import jax
from flax import linen as nn

from aux_rnn.recurrence.cells import LSTMCell
from aux_rnn.recurrence.fused_backend import FusedBackend
from aux_rnn.recurrence.pallas_backend import PallasBackend, agrees_with_scan
from aux_rnn.recurrence.scan import PLATFORM, Tree
from aux_rnn.recurrence.scan_backend import ScanBackend


class Backend(Protocol):
    """Computes the states of an encoder and the outputs of a decoder.

    Args:
      encoder: the bound encoder whose parameters `states_at` and `run_windows` use.
    """

    def __init__(self, encoder: Any) -> None: ...

    def states_at(
        self, inputs: jax.Array, lengths: jax.Array | None, positions: jax.Array, steps: int, *, differentiable: bool
    ) -> Tree:
        """Reads the first `steps` elements from `s[0] = 0` and returns the states at the given positions.

        Args:
          inputs: `[B, L, C]` or, for tokens, `[B, L]`.
          lengths: int32 `[B]`, or None where no sequence is padded. The state stays zero during padding.
          positions: int32 `[B, P]`, at most `steps`.
          steps: elements to read.
          differentiable: whether gradients flow through the pass.

        Returns:
          `s[p]` for every position, leaves `[B, P, H]`.
        """

    def run_windows(
        self, states: Tree, inputs: jax.Array, lengths: jax.Array | None, ends: jax.Array, truncation: int
    ) -> Tree:
        """Runs all windows of one truncation together, with gradients.

        A window that begins before its sequence keeps its state until the first element.

        Args:
          states: leaves `[B, W, H]`, the states at `max(end - T, 0)`.
          inputs: `[B, L, C]` or `[B, L]`.
          lengths: int32 `[B]`, or None where no sequence is padded.
          ends: int32 `[B, W]`.
          truncation: `T`, at least 1.

        Returns:
          `s[end]`, leaves `[B, W, H]`, differentiable over the last `T` steps and in `states`.
        """

    @staticmethod
    def run_decoder(decoder: Any, states: tuple[Tree, ...], elements: jax.Array) -> jax.Array:
        """Runs all layers of a decoder over known elements (teacher forcing).

        Args:
          decoder: the bound `Decoder`.
          states: of each layer before the first step, leaves `[R, H]`.
          elements: `[S, R, C]`, or tokens `[S, R]`.

        Returns:
          The outputs of the top layer, `[S, R, H]`, with truncated gradients as `decoder.config` says.
        """


BACKENDS: dict[str, type[Backend]] = {"scan": ScanBackend, "fused": FusedBackend, "pallas": PallasBackend}


def select_backend(recurrence: str, cell: nn.RNNCellBase) -> type[Backend]:
    """Returns the backend for `--recurrence`; every cell other than our `LSTMCell` takes `nn.scan`.

    While parameters are initialized, the cell has none yet and `nn.scan` is used as well. 'auto' takes the kernels on a
    TPU on which they agree with a scan. A program for a TPU that is not present cannot check that.
    """
    if not isinstance(cell, LSTMCell) or cell.is_initializing():
        return ScanBackend
    if recurrence != "auto":
        return BACKENDS[recurrence]
    is_tpu = PLATFORM.get() is None and jax.default_backend() == "tpu"
    return PallasBackend if is_tpu and agrees_with_scan(cell.matmul) else FusedBackend
