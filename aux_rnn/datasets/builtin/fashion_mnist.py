"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017): 70,000 pictures of clothes in the format of MNIST."""

from aux_rnn.datasets.builtin.mnist import idx_dataset

CLASS_NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]

DATASET = idx_dataset("fashion_mnist", "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", CLASS_NAMES)
