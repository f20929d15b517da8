"""The form and the classes of a data set."""

import numpy as np

from aux_rnn.config.settings import DataConfig
from aux_rnn.datasets import arrays
from aux_rnn.datasets.registry import find_dataset


def class_names(config: DataConfig) -> list[str]:
    """Returns the names of the classes of a data set, by label; raises the errors of `load_splits`."""
    return list(find_dataset(config).open(config).class_names)


def describe_form(config: DataConfig) -> arrays.Form:
    """Returns the form of the sequences of a data set; raises the errors of `load_splits`.

    The classes are integers from 0, or the labels in a file of the user.
    """
    if config.dataset.startswith("file:"):
        # Here and not above, as in `find_dataset`.
        from aux_rnn.datasets.own_files import open_file

        return open_file(config).array_form
    dataset = find_dataset(config)
    spec, dtype = dataset.sequence_spec(config), np.dtype(dataset.form.dtype)
    classes, names = tuple(range(spec.num_classes)), tuple(class_names(config))
    return arrays.Form(spec, dtype, bool(spec.vocabulary_size), classes, names=names, permuted=dataset.permuted)
