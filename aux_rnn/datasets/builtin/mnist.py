"""MNIST: 70,000 handwritten digits of 28x28 pixels."""

from aux_rnn.datasets.idx import idx_dataset

DATASET = idx_dataset("mnist", "https://storage.googleapis.com/cvdf-datasets/mnist/", tuple("0123456789"))
