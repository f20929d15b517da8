"""Metrics as totals and counts: they merge over steps, devices and an uneven last batch, and are divided once, at the
end."""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Mean:
    """A mean that is not divided yet.

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
        """The mean of the values where the mask, of the same shape, is true."""
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
        """The mean; 0 of no values."""
        return self.total / jnp.maximum(self.count, 1)


Metrics = dict[str, Mean]


def merge(a: Metrics, b: Metrics) -> Metrics:
    """The metrics over the values of both; each name must be in both."""
    return {name: a[name].merge(b[name]) for name in a | b}


def compute(metrics: Mapping[str, Mean]) -> dict[str, float]:
    """`{name: mean}` as Python floats."""
    return {name: float(mean.compute()) for name, mean in jax.device_get(dict(metrics)).items() if mean.count}
