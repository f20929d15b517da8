"""Means and differences of means with 95 % confidence intervals, from a few seeds."""

import math
from collections.abc import Iterable

import pandas as pd
from scipy import stats


def estimate_means(groups: "pd.api.typing.SeriesGroupBy") -> pd.DataFrame:
    """Returns the `mean` of each group and `half` the width of its interval by the t distribution, NaN if unknown."""
    table = groups.agg(["mean", "sem", "count"])
    table["half"] = table["sem"] * stats.t.ppf(0.975, table["count"] - 1)
    return table[["mean", "half"]]


def estimate_curve(curves: Iterable[pd.Series]) -> pd.DataFrame:
    """Returns `mean` and `half` of curves, one per seed and indexed by epoch; NaN where one of them is NaN."""
    groups = pd.concat(curves).groupby(level=0)
    curve = estimate_means(groups)
    curve.loc[groups.count() < groups.size()] = math.nan
    return curve


def estimate_difference(values: pd.Series, others: pd.Series) -> tuple[float, float]:
    """Returns the mean of `values` minus the mean of `others`, and half the width of the interval of Welch's t-test."""
    difference = float(values.mean() - others.mean())
    if min(len(values), len(others)) < 2 or values.nunique() == others.nunique() == 1:
        return difference, math.nan
    low, high = stats.ttest_ind(values, others, equal_var=False).confidence_interval()
    return difference, float(high - low) / 2


def format_estimate(mean: float, half: float = math.nan, form: str = ".1f") -> str:
    """Returns '79.7 ± 2.4', the mean alone without an interval, and '-' if there is no value."""
    if math.isnan(mean):
        return "-"
    return f"{mean:{form}}" + ("" if math.isnan(half) else f" ± {half:{form.lstrip('+')}}")
