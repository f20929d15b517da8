"""Evaluation, predictions and reconstructions of a finished run."""
