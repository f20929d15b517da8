"""Speed and memory of the training step: alone, beside PyTorch's, over lengths, and with the recurrence left to flax.

The program itself never starts JAX. What is measured runs in worker processes of its own (`worker.py`), which are asked
for one thing at a time, so that two programs that are compared share neither threads nor memory nor an allocator.
"""
