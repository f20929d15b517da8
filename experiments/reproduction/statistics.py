"""Means and differences with 95 % intervals, from a few seeds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy import stats

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean, or a difference of means, and half the width of its 95 % interval; None where too few seeds show none."""

    mean: float
    half: float | None


def variance(values: Sequence[float]) -> float:
    """Sample variance, of at least two values."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def t_quantile(freedom: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


def estimate_mean(values: Sequence[float]) -> Estimate:
    """The mean of at least one value, with the interval of the t distribution."""
    mean, count = sum(values) / len(values), len(values)
    return Estimate(mean, t_quantile(count - 1) * math.sqrt(variance(values) / count) if count > 1 else None)


def estimate_difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Mean of `values` minus mean of `others`, with Welch's interval, which does not ask for equal spreads."""
    difference = sum(values) / len(values) - sum(others) / len(others)
    if min(len(values), len(others)) < 2:
        return Estimate(difference, None)
    parts = [(variance(sample) / len(sample), len(sample) - 1) for sample in (values, others)]
    square = sum(part for part, _ in parts)
    if square == 0:
        return Estimate(difference, 0.0)
    freedom = square**2 / sum(part**2 / count for part, count in parts)
    return Estimate(difference, t_quantile(freedom) * math.sqrt(square))
