"""Metrics as totals and counts, which merge exactly over steps, devices and an uneven last batch."""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Mean:
    """A mean as its total and count.

    Attributes:
      total: float32, the sum of the values.
      count: float32, the number of values.

    Examples:
      >>> first = Mean.of(jnp.array([1.0, 2.0, 9.0]), jnp.array([True, True, False]))
      >>> float(first.merge(Mean.once(6.0)).compute())
      3.0
    """

    total: jax.Array
    count: jax.Array

    @classmethod
    def of(cls, values: jax.Array, mask: jax.Array) -> "Mean":
        """Averages the values where the mask, of the same shape, is true."""
        dtype = jnp.promote_types(values.dtype, jnp.float32)
        return cls(jnp.sum(jnp.where(mask, values, 0), dtype=dtype), jnp.sum(mask, dtype=jnp.float32))

    @classmethod
    def once(cls, value: jax.Array) -> "Mean":
        return cls(jnp.asarray(value, jnp.float32), jnp.ones((), jnp.float32))

    @classmethod
    def empty(cls) -> "Mean":
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))

    def merge(self, other: "Mean") -> "Mean":
        return Mean(self.total + other.total, self.count + other.count)

    def compute(self) -> jax.Array:
        """Returns the mean; 0 for no values."""
        return self.total / jnp.maximum(self.count, 1)


Metrics = dict[str, Mean]


def merge(a: Metrics, b: Metrics) -> Metrics:
    """Merges metrics of equal names."""
    return {name: a[name].merge(b[name]) for name in a | b}


def compute(metrics: Mapping[str, Mean]) -> dict[str, float]:
    """Returns `{name: mean}` as Python floats, without metrics of no values."""
    return {name: float(mean.compute()) for name, mean in jax.device_get(dict(metrics)).items() if mean.count}
