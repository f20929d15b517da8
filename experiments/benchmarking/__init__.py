"""Benchmarks of the training step, each program in its own process; the parent process never starts JAX."""
