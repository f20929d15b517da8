"""Figures of decoded segments."""
