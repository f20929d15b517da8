"""Estimates over seeds and their figures, for reproduce.py and compare.py."""
