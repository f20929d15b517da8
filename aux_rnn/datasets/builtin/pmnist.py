"""MNIST, with the pixels of every image in the same random order."""

import dataclasses

from aux_rnn.datasets.builtin import mnist

DATASET = dataclasses.replace(mnist.DATASET, name="pmnist", permuted=True)
