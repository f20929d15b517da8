"""Stanford Dogs: 20,580 colour photographs of 120 breeds.

The photographs have all sizes. The largest square in the middle of each is stored at 128x128 pixels.
"""

import io
import tarfile
from collections.abc import Iterator

import numpy as np

from aux_rnn.datasets.errors import reading
from aux_rnn.datasets.files import OfficialFile, Source, read_member
from aux_rnn.datasets.forms import Images, crop_and_shrink
from aux_rnn.datasets.official import Example, Files, OfficialDataset

IMAGES, LISTS = "images.tar", "lists.tar"
SIDE = 128
NUM_BREEDS = 120


def read_list(files: Files, split: str) -> tuple[list[str], np.ndarray]:
    """Returns the names of the photographs, such as 'n02085620-Chihuahua/n02085620_10074.jpg', and the labels."""
    # Imported here because a data set that is prepared does not need SciPy.
    from scipy.io import loadmat

    path = files[LISTS]
    with reading(path):
        variables = loadmat(io.BytesIO(read_member(path, f"{split}_list.mat")))
        names = [str(cell.item()) for cell in variables["file_list"][:, 0]]
        return names, variables["labels"][:, 0].astype(np.int64) - 1


def read_class_names(files: Files) -> list[str]:
    """Returns the folder of each breed; a breed without photographs is called by its number."""
    folders = {label: name.partition("/")[0] for name, label in zip(*read_list(files, "train"), strict=True)}
    return [folders.get(label, f"breed-{label + 1}") for label in range(NUM_BREEDS)]


def read_split(files: Files, split: str) -> Iterator[Example]:
    path, listed = files[IMAGES], read_list(files, split)
    with reading(path), tarfile.open(path) as archive:
        members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
        for name, label in zip(*listed, strict=True):
            stream = archive.extractfile(members[f"Images/{name}"])
            assert stream is not None
            yield decode_square(stream.read()), label


def decode_square(content: bytes) -> np.ndarray:
    """Decodes a JPEG or PNG file and shrinks its middle square by area averaging, uint8 `[128, 128, 3]`."""
    from PIL import Image  # see `read_list`

    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    return crop_and_shrink(pixels[None], SIDE)[0]


DATASET = OfficialDataset(
    name="stanford_dogs",
    form=Images((SIDE, SIDE, 3)),
    num_classes=NUM_BREEDS,
    train_examples=12_000,
    test_examples=8_580,
    source=Source(
        name="stanford_dogs",
        address="http://vision.stanford.edu/aditya86/ImageNetDogs/",
        files=(OfficialFile(IMAGES), OfficialFile(LISTS)),
    ),
    read_split=read_split,
    read_class_names=read_class_names,
    variant=f"{SIDE}x{SIDE}",
)
