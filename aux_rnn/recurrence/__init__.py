"""Recurrences with truncated gradients."""
