"""Selects how a recurrence is computed.

A new backend is a subclass of `ScanBackend` and a line in `BACKENDS`.
"""

import jax
from flax import linen as nn

from aux_rnn.recurrence.cells import LSTMCell
from aux_rnn.recurrence.fused_backend import FusedBackend
from aux_rnn.recurrence.pallas_backend import PallasBackend, agrees_with_scan
from aux_rnn.recurrence.scan import PLATFORM
from aux_rnn.recurrence.scan_backend import ScanBackend

BACKENDS: dict[str, type[ScanBackend]] = {"scan": ScanBackend, "fused": FusedBackend, "pallas": PallasBackend}


def select_backend(recurrence: str, cell: nn.RNNCellBase) -> type[ScanBackend]:
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
