"""The output of `--mode=prepare`."""

from cli.tables import format_entry

from aux_rnn.datasets import DataDescription


def format_description(found: DataDescription) -> str:
    """Formats lines of at most 80 columns, except for folders and classes with longer names."""
    spec, sizes = found.spec, found.sizes
    test = "" if found.test_split == "test" else f" (its {found.test_split} split)"
    when = ", prepared before" if found.was_prepared else ", prepared now"
    rows = [("data set", found.dataset), ("folder", str(found.folder or "needs no files"))]
    channels = "1 channel" if spec.channels == 1 else f"{spec.channels} channels"
    bytes_or_tokens = "bytes" if spec.vocabulary_size == 256 else "tokens"
    elements = f", each one of {spec.vocabulary_size} {bytes_or_tokens}" if spec.vocabulary_size else f" x {channels}"
    rows += [("sequences", "at most " * (found.lengths is not None) + f"{spec.length:,} steps{elements}")]
    if found.lengths is not None:
        name, unit = ("texts", "bytes") if spec.vocabulary_size == 256 else ("lengths", "steps")
        shortest, median, longest = found.lengths
        rows += [(name, f"{shortest:,} to {longest:,} {unit} long, median {median:,}")]
    rows += [
        ("examples", f"{sizes.train:,} train, {sizes.validation:,} validation, {sizes.test:,} test{test}"),
        ("classes", str(spec.num_classes)),
        *describe_classes(found),
        *describe_part(found),
        ("time", f"{found.seconds:.1f} s" + when * (found.folder is not None)),
    ]
    return "\n".join(format_entry(name, value) for name, value in rows)


def describe_part(found: DataDescription) -> list[tuple[str, str]]:
    """Returns a row that says that the data is a part of the published data, if this is so."""
    if found.stored == found.published:
        return []
    (train, test), (all_train, all_test) = found.stored, found.published
    return [("a part", f"{train:,} of {all_train:,} training and {test:,} of {all_test:,} test examples")]


def describe_classes(found: DataDescription) -> list[tuple[str, str]]:
    """Returns rows with the number of examples of the smallest and the largest class."""
    unit = "training and validation examples"
    if found.smallest[1] == found.largest[1]:
        return [("each", f"{found.smallest[1]:,} {unit}")]
    smallest, largest = (f"{name}, {count:,}" for name, count in (found.smallest, found.largest))
    return [("smallest", f"{smallest} {unit}"), ("largest", largest)]
