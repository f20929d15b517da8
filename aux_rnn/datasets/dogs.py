"""Stanford Dogs: photographs of 120 breeds, cut to the middle square and shrunk to one of eight sides when prepared.

The photographs come in all sizes, so what is stored is not what was published: one configuration of the builder for
each side. The archive is never unpacked. Its index is read once, then every listed photograph is read at its place, in
the order of the lists.
"""

import dataclasses
import io
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from aux_rnn.datasets import archives, sources
from aux_rnn.datasets.breeds import NUM_BREEDS, name_breeds, read_lists
from aux_rnn.datasets.builders import Arrays, SequentialImages
from aux_rnn.datasets.errors import DataError
from aux_rnn.datasets.shrinking import crop_square, shrink_images
from aux_rnn.errors import first_line

SIDES = (28, 32, 40, 48, 64, 80, 96, 128)

# The largest published photograph has some 3,000 pixels a side and less than 1 MB: far more is an attack or a mistake.
LARGEST_SIDE = 8_192
LARGEST_FILE = 32 << 20


class Place(NamedTuple):
    """Where a member's content lies in its archive, in bytes."""

    offset: int
    size: int


@dataclasses.dataclass(eq=False, kw_only=True)
class SideConfig(tfds.core.BuilderConfig):
    """A size of the prepared photographs: `side` x `side` pixels."""

    side: int


class SequentialStanfordDogs(SequentialImages):
    """20,580 colour photographs of dogs, made square."""

    BUILDER_CONFIGS = tuple(
        SideConfig(name=f"{side}x{side}", description=f"{side} x {side} pixels.", side=side) for side in SIDES
    )
    source = sources.STANFORD_DOGS
    description = "Stanford Dogs: colour photographs of 120 breeds, the middle square, shrunk by area averaging."
    homepage = "http://vision.stanford.edu/aditya86/ImageNetDogs/"

    def input_shape(self) -> tuple[int, int, int]:
        return self.builder_config.side, self.builder_config.side, 3

    def label_feature(self) -> tfds.features.ClassLabel:
        return tfds.features.ClassLabel(num_classes=NUM_BREEDS)

    def inspect_files(self) -> None:
        assert self.files is not None
        self._lists = read_lists(self.files[sources.DOGS_LISTS])
        names = [name for split in self._lists.values() for name in split.names]
        self._places = index_members(self.files[sources.DOGS_IMAGES], names)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        generators = super()._split_generators(dl_manager)
        self.info.features["label"].names = name_breeds(self._lists.values())
        return generators

    def read_split(self, split: str) -> Iterator[Arrays]:
        assert self.files is not None
        photographs = self._lists[split]
        with self.files[sources.DOGS_IMAGES].open("rb") as archive:
            for name, label in zip(photographs.names, photographs.labels, strict=True):
                place = self._places[name]
                archive.seek(place.offset)
                image = decode_square(archive.read(place.size), self.builder_config.side, f"{archive.name}: {name}")
                yield image[None], label[None]


def index_members(archive: Path, names: Collection[str]) -> dict[str, Place]:
    """Where each member lies in a plain tar archive, of which only the headers are read.

    Raises:
      DataError: the archive is damaged or lacks members, or one is a link, a folder, too large or there twice.
    """
    with archives.reporting_damage(archive):
        if archives.is_compressed(archive):
            raise DataError(f"{archive}: compressed; gunzip it, as photographs are read at their places")
        members = archives.iterate_wanted(archive, dict.fromkeys(names, LARGEST_FILE))
        places = {member.name: Place(member.offset, member.size) for member in members}
    missing = [name for name in names if name not in places]
    if missing:
        raise DataError(
            f"{archive}: lacks {len(missing):,} of the {len(names):,} photographs that {sources.DOGS_LISTS} names, "
            f"the first {missing[0]}; use two files that belong together, such as the published ones "
            f"({sources.STANFORD_DOGS.base_url})"
        )
    return places


def decode_square(content: bytes, side: int, name: str) -> np.ndarray:
    """Decodes a photograph and shrinks its middle square by area averaging.

    Args:
      content: a JPEG file (one of the published ones is a PNG).
      side: new height and width.
      name: what to call it in an error.

    Returns:
      uint8 [side, side, 3].

    Raises:
      DataError: the file is damaged or unreasonably large.
    """
    try:
        pixels = decode(content)
    except Exception as error:  # pillow raises many kinds of errors for damaged files
        raise DataError(f"{name}: damaged, no photograph ({first_line(error)})") from error
    square = crop_square(pixels[None])
    # Channel by channel: a third of the memory, which a photograph of 3,000 pixels a side needs in float64.
    return np.concatenate([shrink_images(square[..., c : c + 1], side) for c in range(3)], axis=-1)[0]


def decode(content: bytes) -> np.ndarray:
    """uint8 [H, W, 3]; raises whatever pillow raises, and ValueError for a photograph that is unreasonably large."""
    # Here and not above: a prepared data set does without it.
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # of what is larger than ours may be
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            if max(image.size) > LARGEST_SIDE:
                raise ValueError(f"{image.width} x {image.height} pixels are more than {LARGEST_SIDE} a side")
            return np.asarray(image.convert("RGB"))
