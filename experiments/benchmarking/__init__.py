"""Benchmarks of the training step, each program in a process of its own; the parent process never starts JAX."""
