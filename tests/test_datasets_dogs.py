"""Stanford Dogs from small archives in the official layout."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from aux_rnn.config import DataConfig, SequenceSpec
from aux_rnn.datasets import DataError, dogs, find_dataset, load_splits, prepare, sequence_spec, split_sizes
from aux_rnn.datasets.shrinking import crop_square, shrink_images
from aux_rnn.settings import ConfigError

BREEDS = {"n01-Afghan": 1, "n02-Basenji": 2, "n03-Corgi": 120}
LISTED = {
    "train": [f"{breed}/{breed[:3]}_{number}.jpg" for breed in BREEDS for number in range(4)],
    "test": [f"{breed}/{breed[:3]}_9.jpg" for breed in BREEDS],
}
NAMES = [name for names in LISTED.values() for name in names]


def photograph(seed, width=37, height=30, file_format="JPEG", mode="RGB"):
    """A blurred random photograph as a file, and what a decoder makes of it."""
    colours = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    image = Image.fromarray(colours).resize((width, height)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, file_format)
    return stream.getvalue(), np.asarray(Image.open(stream).convert("RGB"))


def list_file(files, labels=None):
    cells = np.empty((len(files), 1), object)
    cells[:, 0] = files
    labels = [BREEDS[file.split("/")[0]] for file in files] if labels is None else labels
    stream = io.BytesIO()
    savemat(stream, {"file_list": cells, "annotation_list": cells, "labels": np.array(labels, np.uint8)[:, None]})
    return stream.getvalue()


def write_tar(path, members, changes=None):
    """Writes members `{name: content}`; a change `{name: TarInfo attributes}` makes something else of one."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for attribute, value in (changes or {}).get(name, {}).items():
                setattr(member, attribute, value)
            tar.addfile(member, io.BytesIO(content) if member.isreg() else None)


def write_lists(folder, **changes):
    lists = {f"{split}_list.mat": list_file(names) for split, names in LISTED.items()}
    write_tar(folder / "lists.tar", {**lists, **changes})


@pytest.fixture
def manual_dir(tmp_path):
    folder = tmp_path / "manual" / "stanford_dogs"
    folder.mkdir(parents=True)
    images = {f"Images/{name}": photograph(seed)[0] for seed, name in enumerate(NAMES)}
    # In another order than the lists, and with something that nobody asked for.
    write_tar(folder / "images.tar", {"Images/more.txt": b"?", **dict(reversed(images.items()))})
    write_lists(folder)
    return folder


def dogs_config(tmp_path, **settings):
    return DataConfig(
        **{
            "dataset": "stanford_dogs",
            "data_dir": str(tmp_path / "data"),
            "manual_dir": str(tmp_path / "manual"),
            "image_size": 28,
            "validation_fraction": 0.0,
            **settings,
        }
    )


def test_photographs_are_cropped_shrunk_and_in_the_order_of_the_lists(manual_dir, tmp_path):
    splits = load_splits(dogs_config(tmp_path), seed=0)
    decoded = np.stack([photograph(seed)[1] for seed in range(len(NAMES))])
    assert decoded.shape == (15, 30, 37, 3)
    expected = shrink_images(decoded[:, :, 3:33], 28)
    np.testing.assert_array_equal(splits.train.inputs, expected[:12])
    np.testing.assert_array_equal(splits.test.inputs, expected[12:])
    assert splits.train.labels.tolist() == [0] * 4 + [1] * 4 + [119] * 4
    assert splits.test.labels.tolist() == [0, 1, 119]
    assert splits.train.lengths is None


def test_every_side_is_prepared_apart_and_breeds_keep_their_names(manual_dir, tmp_path):
    for side in (28, 40):
        builder = prepare(dogs_config(tmp_path, image_size=side))
        assert builder.data_dir.endswith(f"sequential_stanford_dogs/{side}x{side}/1.0.0")
    assert load_splits(dogs_config(tmp_path, image_size=40), 0).test.inputs.shape == (3, 40, 40, 3)
    names = builder.info.features["label"].names
    assert (names[0], names[1], names[2], names[119]) == ("n01-Afghan", "n02-Basenji", "breed-3", "n03-Corgi")
    # Prepared data needs no files any more.
    (manual_dir / "images.tar").unlink()
    assert len(load_splits(dogs_config(tmp_path), seed=0).train) == 12


def test_sides_and_lengths_are_known_without_data():
    lengths = [sequence_spec(DataConfig(dataset="stanford_dogs", image_size=side)).length for side in dogs.SIDES]
    assert lengths == [784, 1024, 1600, 2304, 4096, 6400, 9216, 16384]
    assert sequence_spec(DataConfig(dataset="stanford_dogs")) == SequenceSpec(16384, 3, 120)
    assert split_sizes(DataConfig(dataset="stanford_dogs")) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 30}, r"--image_size=30: must be one of 28, 32, 40, 48, 64, 80, 96, 128 for stanford_dogs"),
        ({"sequence_length": 10}, r"--sequence_length=10: must be 0 \(the images of stanford_dogs decide"),
    ],
)
def test_settings_that_do_not_fit_are_refused_without_data(settings, message):
    with pytest.raises(ConfigError, match=message):
        find_dataset(DataConfig(dataset="stanford_dogs", **settings))


def test_more_examples_than_this_part_has_are_refused_after_preparing(manual_dir, tmp_path):
    with pytest.raises(ConfigError, match="--train_examples=13: must be at most 12, the training examples that stan"):
        load_splits(dogs_config(tmp_path, train_examples=13), seed=0)


@pytest.mark.parametrize(("file_format", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "L"), ("JPEG", "CMYK")])
def test_photographs_of_other_kinds_become_three_channels(file_format, mode):
    content, pixels = photograph(0, 20, 30, file_format, mode)
    np.testing.assert_array_equal(dogs.decode_square(content, 28, "x"), shrink_images(crop_square(pixels[None]), 28)[0])


def test_enlarging_a_photograph_repeats_its_pixels():
    content, pixels = photograph(3, 14, 16, "PNG")
    np.testing.assert_array_equal(dogs.decode_square(content, 28, "x"), pixels[1:15].repeat(2, 0).repeat(2, 1))


def test_a_photograph_that_is_damaged_is_named(manual_dir, tmp_path, monkeypatch):
    content = photograph(0)[0]
    for damaged in (content[:200], b"", b"GIF89a", content[:-40]):
        with pytest.raises(DataError, match="toy: damaged, no photograph"):
            dogs.decode_square(damaged, 28, "toy")
    monkeypatch.setattr(dogs, "LARGEST_SIDE", 36)
    with pytest.raises(DataError, match="37 x 30 pixels are more than 36 a side"):
        prepare(dogs_config(tmp_path))
    monkeypatch.undo()
    assert prepare(dogs_config(tmp_path)).is_prepared(), "nothing half-written is in the way"


def test_an_archive_that_lacks_photographs_is_refused_before_anything_is_written(manual_dir, tmp_path):
    images = {f"Images/{name}": photograph(0)[0] for name in NAMES[2:]}
    write_tar(manual_dir / "images.tar", images)
    with pytest.raises(DataError) as caught:
        prepare(dogs_config(tmp_path))
    message = str(caught.value)
    assert f"{manual_dir / 'images.tar'}: lacks 2 of the 15 photographs that lists.tar names" in message
    assert f"the first Images/{NAMES[0]}" in message
    assert "use two files that belong together" in message
    assert "\n" not in message
    assert not list((tmp_path / "data").rglob("*")), "something was written"


@pytest.mark.parametrize(
    "change",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0},
        {"type": tarfile.LNKTYPE, "linkname": "Images/more.txt", "size": 0},
        {"type": tarfile.DIRTYPE, "size": 0},
        {"type": tarfile.FIFOTYPE, "size": 0},
    ],
)
def test_links_and_folders_under_the_name_of_a_photograph_are_refused(manual_dir, tmp_path, change):
    images = {f"Images/{name}": photograph(0)[0] for name in NAMES}
    write_tar(manual_dir / "images.tar", images, {f"Images/{NAMES[3]}": change})
    with pytest.raises(DataError, match=f"damaged, Images/{NAMES[3]} is not the expected regular file"):
        prepare(dogs_config(tmp_path))


def test_damaged_archives_are_refused(manual_dir, tmp_path):
    path = manual_dir / "images.tar"
    whole = path.read_bytes()
    for content in (whole[:2_000], b"no archive", b""):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"images.tar: (damaged|lacks)"):
            prepare(dogs_config(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged, no list of file_list and labels"),
        (b"MATLAB 5.0 MAT-file" + bytes(200), "damaged, no list of file_list and labels"),
        (list_file(LISTED["train"])[:-60], "train_list.mat: damaged"),
        (list_file(LISTED["train"][:2], [1]), "damaged, 2 files but 1 labels"),
        (list_file(LISTED["train"][:2], [1, 121]), "damaged, label 121 is not from 1 to 120"),
        (list_file(LISTED["train"][:2], [0, 1]), "damaged, label 0 is not from 1 to 120"),
        (list_file([]), "damaged"),
        (list_file(LISTED["test"]), f"damaged, Images/{LISTED['test'][0]} is listed twice"),
    ],
)
def test_damaged_lists_are_refused(manual_dir, tmp_path, content, message):
    write_lists(manual_dir, **{"train_list.mat": content})
    with pytest.raises(DataError, match=message) as caught:
        prepare(dogs_config(tmp_path))
    assert str(manual_dir / "lists.tar") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_list_is_named(manual_dir, tmp_path):
    write_tar(manual_dir / "lists.tar", {"train_list.mat": list_file(LISTED["train"])})
    with pytest.raises(DataError, match=r"lists.tar: damaged, it lacks test_list.mat"):
        prepare(dogs_config(tmp_path))


def test_damaged_prepared_data_is_refused_and_kept(manual_dir, tmp_path):
    folder = tmp_path / "data/sequential_stanford_dogs/28x28/1.0.0"
    prepare(dogs_config(tmp_path))
    (folder / "dataset_info.json").write_text("{")
    with pytest.raises(DataError, match="move this folder away to have it prepared anew") as caught:
        load_splits(dogs_config(tmp_path), seed=0)
    assert str(folder) in str(caught.value)
    assert (folder / "dataset_info.json").read_text() == "{"
