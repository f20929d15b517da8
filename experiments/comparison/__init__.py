"""Comparison of runs: their curves in one figure."""
