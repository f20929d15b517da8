"""Draws reconstructions during training and from a checkpoint."""

from collections.abc import Callable
from typing import Any

import numpy as np

from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.datasets import Splits
from aux_rnn.plots.reconstructions.samples import make_decode_fn, pick_examples


def make_reconstruction_plotter(
    config: Config, spec: SequenceSpec, splits: Splits, permutation: np.ndarray | None, total_steps: int
) -> Callable[[Any, int, Callable[[], bool]], bytes | None]:
    """Returns the function `(params, step, is_stopping) -> PNG` that draws reconstructions after a step.

    It uses one device of the process that calls it, and compiles in the first call. It returns None if there is no
    decoder, or once `is_stopping` returns true.
    """
    # Arrays given to `fit` may have no test examples.
    split = next(name for name in ("test", "validation", "train") if len(getattr(splits, name)))
    examples = pick_examples(getattr(splits, split))
    decode = make_decode_fn(config, spec, permutation)

    def draw(params: Any, step: int, is_stopping: Callable[[], bool]) -> bytes | None:
        decoded = []
        for kind in config.model.auxiliaries:
            if is_stopping():  # compilation takes seconds
                return None
            decoded.append(decode(params, examples, kind))
        if not decoded or is_stopping():
            return None
        # Imported here because matplotlib takes a second, which a run without figures need not wait for.
        from aux_rnn.plots.reconstructions.figure import draw_reconstructions
        from aux_rnn.plots.style import plot_style, render

        title = f"{config.data.dataset}, {split} examples, after {step:,} of {total_steps:,} steps"
        with plot_style("reconstructions"):
            dropout = config.model.decoder_input_dropout
            return render(draw_reconstructions(decoded, examples, title, permutation, dropout), "png")

    return draw
