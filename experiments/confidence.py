"""Means and differences of means with 95 % confidence intervals, from a few seeds."""

import math
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Estimate(NamedTuple):
    """A mean or a difference of means, and half the width of its 95 % confidence interval; NaN if it is unknown."""

    mean: float
    half: float

    def format(self, digits: int = 1, sign: str = "") -> str:
        """Returns '79.7 ± 2.4', the mean alone without an interval, and '-' if there is no value."""
        if math.isnan(self.mean):
            return "-"
        return f"{self.mean:{sign}.{digits}f}" + ("" if math.isnan(self.half) else f" ± {self.half:.{digits}f}")


def estimate_mean(values: Sequence[float]) -> Estimate:
    """Returns the mean and its interval by the t distribution; an interval needs two values."""
    if len(values) < 2:
        return Estimate(float(np.mean(values)) if len(values) else math.nan, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of equal values, whose test statistic is not needed
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
    return Estimate(float(np.mean(values)), float(high - low) / 2)


def estimate_difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Returns the mean of `values` minus the mean of `others`, with the interval of Welch's t-test."""
    difference = float(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2 or np.ptp(values) == np.ptp(others) == 0:
        return Estimate(difference, math.nan)
    low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval()
    return Estimate(difference, float(high - low) / 2)


def estimate_curve(points: Iterable[tuple[float, float]]) -> dict[float, Estimate]:
    """Returns the mean of all values at each epoch, in order, from (epoch, value) of several runs."""
    values: dict[float, list[float]] = {}
    for epoch, value in points:
        values.setdefault(round(epoch, 6), []).append(value)
    return {epoch: estimate_mean(values[epoch]) for epoch in sorted(values)}
