"""Training: the steps, the loop and its outputs."""
