"""The official files of each data set, with their published sizes and checksums."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class OfficialFile:
    """A file as its authors publish it.

    Attributes:
      name: name without folder.
      size: length in bytes; 0 where none is published.
      sha256: hexadecimal digest of the content; empty where none is published.
    """

    name: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a data set comes from.

    Attributes:
      name: subfolder of the manual and of the download folder that is searched first.
      base_url: address of the folder that holds `files`, with a slash at the end; empty where we know of none that
        serves published content.
      files: what is downloaded.
      unpacked_folder: folder that appears when the user unpacks the downloaded archive; empty if it is no archive.
      unpacked_files: content of that folder, which serves as well as `files`.
      accepts_parts: whether other files of these names, such as a part of the data in the official layout, are taken
        from the user's folder as well. A download must be the published file in any case.
      where: where a person finds files that have no `base_url`.
    """

    name: str
    base_url: str
    files: tuple[OfficialFile, ...]
    unpacked_folder: str = ""
    unpacked_files: tuple[OfficialFile, ...] = ()
    accepts_parts: bool = False
    where: str = ""


MNIST_TRAIN_IMAGES, MNIST_TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
MNIST_TEST_IMAGES, MNIST_TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

MNIST = Source(
    name="mnist",
    base_url="https://storage.googleapis.com/cvdf-datasets/mnist/",
    files=(
        OfficialFile(MNIST_TRAIN_IMAGES, 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        OfficialFile(MNIST_TRAIN_LABELS, 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        OfficialFile(MNIST_TEST_IMAGES, 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        OfficialFile(MNIST_TEST_LABELS, 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10_TEST = ("test_batch.bin",)
CIFAR10_BATCH_BYTES = 30_730_000

CIFAR10 = Source(
    name="cifar10",
    base_url="https://www.cs.toronto.edu/~kriz/",
    files=(
        OfficialFile(CIFAR10_ARCHIVE, 170_052_171, "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    ),
    unpacked_folder=CIFAR10_FOLDER,
    unpacked_files=tuple(
        OfficialFile(name, CIFAR10_BATCH_BYTES, sha256)
        for name, sha256 in {
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        }.items()
    ),
)

DOGS_IMAGES, DOGS_LISTS = "images.tar", "lists.tar"

STANFORD_DOGS = Source(
    name="stanford_dogs",
    base_url="http://vision.stanford.edu/aditya86/ImageNetDogs/",
    files=(
        OfficialFile(DOGS_IMAGES, 793_579_520, "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58"),
        OfficialFile(DOGS_LISTS, 481_280, "34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c"),
    ),
    accepts_parts=True,
)

DBPEDIA_ARCHIVE = "dbpedia_csv.tar.gz"

DBPEDIA = Source(
    name="dbpedia",
    base_url="",
    files=(OfficialFile(DBPEDIA_ARCHIVE, 0, ""),),
    accepts_parts=True,
    where="Zhang, Zhao and LeCun (2015) published it; https://huggingface.co/datasets/fancyzhx/dbpedia_14 says where",
)
