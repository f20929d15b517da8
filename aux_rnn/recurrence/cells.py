"""Recurrent cells: our LSTM and the cells of flax. `CELLS` in `config/settings.py` has the names of `--encoder`."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import initializers

from aux_rnn.config.fields import ConfigError, Encoder, format_value
from aux_rnn.config.settings import CELLS
from aux_rnn.errors import first_line
from aux_rnn.recurrence.precision import MATMULS, MatMul

Carry = tuple[jax.Array, ...] | jax.Array
CellFactory = Callable[[int], nn.RNNCellBase]


def forget_gate_bias(key: jax.Array, shape: tuple[int], dtype=jnp.float32) -> jax.Array:
    """Returns zeros, and ones for the forget gate, the second quarter (Jozefowicz, Zaremba and Sutskever, 2015)."""
    del key
    return jnp.repeat(jnp.array([0, 1, 0, 0], dtype), shape[0] // 4)


def orthogonal_gates(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> jax.Array:
    """Returns one orthogonal matrix per gate, side by side: `[H, 4H]`."""
    square = initializers.orthogonal()
    return jnp.concatenate([square(k, (shape[0], shape[0]), dtype) for k in jax.random.split(key, 4)], axis=1)


class LSTMCell(nn.RNNCellBase):
    r"""Long short-term memory (Hochreiter and Schmidhuber, 1997; forget gate: Gers et al., 2000).

    .. math::
        i, f, o &= \sigma(x W_{i,f,o} + h U_{i,f,o} + b_{i,f,o}) \\
        g &= \tanh(x W_g + h U_g + b_g) \\
        c' &= f c + i g, \quad h' = o \tanh(c')

    The same function as `flax.linen.LSTMCell`, with the gates `i, f, g, o` side by side in one matrix each for the
    input and the state, so that a step is two matrix products, and with an initial forget-gate bias of 1.

    Attributes:
      features: H, the number of units.
      matmul: the matrix product, see `precision.py`.
    """

    features: int
    matmul: MatMul = jnp.matmul

    @nn.compact
    def __call__(self, carry: Carry, inputs: jax.Array) -> tuple[Carry, jax.Array]:
        """Runs one step.

        Args:
          carry: `(c, h)`, each `[batch, H]`.
          inputs: `[batch, E]`.

        Returns:
          The new carry, and its `h`.
        """
        cell, hidden = carry
        width = 4 * self.features
        input_kernel = self.param("input_kernel", initializers.lecun_normal(), (inputs.shape[-1], width))
        recurrent_kernel = self.param("recurrent_kernel", orthogonal_gates, (self.features, width))
        bias = self.param("bias", forget_gate_bias, (width,))
        i, f, g, o = jnp.split(
            self.matmul(inputs, input_kernel) + self.matmul(hidden, recurrent_kernel) + bias, 4, axis=-1
        )
        cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * nn.tanh(g)
        hidden = nn.sigmoid(o) * nn.tanh(cell)
        return (cell, hidden), hidden

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Carry:
        """Returns zeros `(c, h)` of shape `[batch, H]` for inputs of shape `[batch, E]`."""
        del rng
        zeros = jnp.zeros((*input_shape[:-1], self.features))
        return zeros, zeros

    @property
    def num_feature_axes(self) -> int:
        return 1


def cell_factory(encoder: Encoder, precision: str) -> CellFactory:
    """Returns the function that makes the cell of that name, or `encoder` itself if it is a function.

    Flax's cells compute float32 products only.

    Raises:
      ConfigError: it is the name of a cell that is not part of flax.
    """
    if not isinstance(encoder, str):
        return encoder
    if encoder == "lstm":
        return partial(LSTMCell, matmul=MATMULS[precision])
    name = encoder.rpartition(".")[2] if encoder.startswith("flax.linen.") else CELLS.get(encoder, "")
    if not hasattr(nn, name):
        remedy = "pass the function that makes it as cell="
        raise ConfigError(f"encoder={encoder}: a cell that is not part of flax.linen; {remedy}")
    return getattr(nn, name)


def check_cell(cell: CellFactory) -> None:
    """Raises ConfigError unless a function makes flax cells whose state ends with the hidden state."""

    def run_one_step() -> Any:
        made = cell(3)
        carry = zero_carry(made, batch=2, input_size=5)
        (carry, output), _ = made.init_with_output(jax.random.key(0), carry, jnp.zeros((2, 5)))
        return hidden_state(carry), output

    try:
        found = [array.shape for array in jax.eval_shape(run_one_step)]
        reason = f"its hidden state and output for two rows of three units are {found}" if found != [(2, 3)] * 2 else ""
    except Exception as error:  # a function of somebody else, called with what it may not expect
        reason = first_line(error, 200)
    if reason:
        allowed = "a function from a number of units to a cell of flax.linen, such as flax.linen.GRUCell"
        raise ConfigError(f"cell={format_value(cell)}: must be {allowed} ({reason})")


def with_cell(settings: dict[str, Any], cell: CellFactory | None) -> dict[str, Any]:
    """Returns the settings with a cell as their `encoder`. Raises ConfigError if they name another one."""
    if cell is None:
        return settings
    if not callable(cell):
        check_cell(cell)
    if "encoder" in settings:
        raise ConfigError(f"encoder={format_value(settings['encoder'])}: must be left out where there is a cell")
    return {**settings, "encoder": cell}


@cache
def count_gates_and_states(encoder: Encoder) -> tuple[int, int]:
    """Returns how many pairs of matrices `[E, H]` and `[H, H]` a cell has, and how many arrays `[H]` its state has."""

    def initialize() -> Any:
        cell = cell_factory(encoder, "float32")(1)
        carry = zero_carry(cell, batch=1, input_size=1)
        return carry, cell.init(jax.random.key(0), carry, jnp.zeros((1, 1)))

    carry, variables = jax.eval_shape(initialize)
    matrices = sum(leaf.size for leaf in jax.tree.leaves(variables) if leaf.ndim == 2)
    return matrices // 2, len(jax.tree.leaves(carry))


def zero_carry(cell: nn.RNNCellBase, batch: int, input_size: int) -> Carry:
    """Returns the state before the first element, `s[0] = 0`, for `batch` rows."""
    carry = cell.initialize_carry(jax.random.key(0), (batch, input_size))
    return jax.tree.map(lambda array: jnp.zeros(array.shape), carry)  # of the default type, as parameters are


def hidden_state(carry: Carry) -> jax.Array:
    """Returns the hidden part of a state, `[..., H]`: the last array of the carry, which flax's cells output."""
    return jax.tree.leaves(carry)[-1]
