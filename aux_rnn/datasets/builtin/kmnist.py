"""Kuzushiji-MNIST (Clanuwat and others, 2018): 70,000 cursive Hiragana characters in the format of MNIST."""

from aux_rnn.datasets.builtin.mnist import idx_dataset

CLASS_NAMES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

DATASET = idx_dataset("kmnist", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/", CLASS_NAMES)
