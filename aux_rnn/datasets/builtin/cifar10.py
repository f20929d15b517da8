"""CIFAR-10: 60,000 colour photographs of 32x32 pixels in ten classes."""

from collections.abc import Iterator

import numpy as np

from aux_rnn.datasets.errors import reading
from aux_rnn.datasets.files import OfficialFile, Source, read_member
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Example, Files, OfficialDataset

ARCHIVE = OfficialFile(
    "cifar-10-binary.tar.gz",
    unpacked="cifar-10-batches-bin",
    contents={
        "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
    },
)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read_split(files: Files, split: str) -> Iterator[Example]:
    path = files[ARCHIVE.name]
    names = [name for name in ARCHIVE.contents if name.startswith("data" if split == "train" else "test")]
    with reading(path):
        for name in names:
            # A record is a label and a red, a green and a blue plane.
            records = np.frombuffer(read_member(path, name), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
            images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
            yield from zip(images, records[:, 0], strict=True)


DATASET = OfficialDataset(
    name="cifar10",
    form=Images((32, 32, 3)),
    num_classes=10,
    train_examples=50_000,
    test_examples=10_000,
    source=Source(
        name="cifar10",
        address="https://www.cs.toronto.edu/~kriz/",
        files=(ARCHIVE,),
        remark=" (the binary version; the Python version is not read, because unpickling it could run any code)",
    ),
    read_split=read_split,
    read_class_names=lambda files: CLASS_NAMES,
)
