"""EMNIST (Cohen, Afshar, Tapson and van Schaik, 2017): digits and letters in the format of MNIST, in six divisions.

The images are stored as published: their rows are the columns of the characters.
"""

import string
import zipfile
from collections.abc import Iterator

from aux_rnn.datasets.builtin.mnist import IMAGES, LABELS, read_idx
from aux_rnn.datasets.errors import reading
from aux_rnn.datasets.files import OfficialFile, Source
from aux_rnn.datasets.forms import Images
from aux_rnn.datasets.official import Example, Files, OfficialDataset

ADDRESS, ARCHIVE = "https://biometrics.nist.gov/cs_links/EMNIST/", "gzip.zip"
MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # small letters unlike the capital ones
# The names of the classes, and the numbers of training and test examples.
DIVISIONS = {
    "byclass": (string.digits + string.ascii_uppercase + string.ascii_lowercase, 697_932, 116_323),
    "bymerge": (MERGED, 697_932, 116_323),
    "balanced": (MERGED, 112_800, 18_800),
    "letters": (string.ascii_uppercase, 124_800, 20_800),
    "digits": (string.digits, 240_000, 40_000),
    "mnist": (string.digits, 60_000, 10_000),
}


def make_division(name: str, classes: str, train_examples: int, test_examples: int) -> OfficialDataset:
    """Describes a division."""
    first_label = int(name == "letters")

    def read_split(files: Files, split: str) -> Iterator[Example]:
        path = files[ARCHIVE]
        with reading(path), zipfile.ZipFile(path) as archive:
            members = (f"gzip/emnist-{name}-{split}-{kind}.gz" for kind in (IMAGES, LABELS))
            images, labels = (read_idx(archive.read(member)) for member in members)
            yield from zip(images[..., None], labels - first_label, strict=True)

    return OfficialDataset(
        name=f"emnist/{name}",
        form=Images((28, 28, 1)),
        num_classes=len(classes),
        train_examples=train_examples,
        test_examples=test_examples,
        source=Source("emnist", ADDRESS, (OfficialFile(ARCHIVE),), " (packed, as published)"),
        read_split=read_split,
        read_class_names=lambda files: tuple(classes),
        variant=name,
    )


DATASETS = {f"emnist/{name}": make_division(name, *facts) for name, facts in DIVISIONS.items()}
