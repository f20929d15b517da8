"""Trains on your own array, with and without the auxiliary loss, in half a minute.

  python experiments/own_data.py [FOLDER]

Both runs are saved in FOLDER, with curves, reports and reconstructions.

To use your own array, return it from `make_data`: sequences `[N, L, C]` of
floats, about 0 to 1, and labels `[N]`, integers or strings. uint8 `[N, L, C]`,
images `[N, H, W, C]` and tokens `[N, L]` are accepted as well;
`help(aux_rnn.fit)` describes each form and the other arguments. Then set

  segment_length     at most L; long enough to reach from an anchor back to what
                     must be remembered
  ..._truncation     steps that gradients reach back; 'full' if time and memory
                     allow it
  auxiliary_weight   so that both losses matter: squared errors are small
                     compared with a cross-entropy
  pretrain_epochs, train_epochs, batch_size, sizes
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import aux_rnn
from aux_rnn.errors import OneLineError

LENGTH, CLASSES, SHOWN_UNTIL = 48, 8, 32

SETTINGS: dict[str, Any] = dict(
    segment_length=40,
    auxiliary_weight=10.0,
    decoder_input_dropout=0.5,
    supervised_truncation=1,
    auxiliary_truncation=8,
    decoder_truncation="full",
    embedding_size=16,
    hidden_size=32,
    head_sizes=(32,),
    decoder_sizes=(32,),
    decoder_head_sizes=(32,),
    optimizer="adam",
    learning_rate=3e-3,
    batch_size=64,
    pretrain_epochs=0,
    train_epochs=30,
    evaluate_every_epochs=30,
)


def pulses_at(centers: np.ndarray) -> np.ndarray:
    """Returns a pulse of height 1 at each of the N steps: float64 `[N, 48]`."""
    return np.exp(-(((np.arange(LENGTH) - centers[:, None]) / 1.5) ** 2) / 2)


def make_data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws a pulse in noise; the class is the eighth of the first 32 steps that it is in.

    The last 16 steps show a pulse in the other direction. The gradient of the classification reaches back over the last
    step alone, so the class must be remembered.

    Returns:
      float32 `[count, 48, 1]` and int64 `[count]`.
    """
    draw = np.random.default_rng(seed)
    labels = draw.integers(CLASSES, size=count)
    centers = (labels + draw.random(count)) * (SHOWN_UNTIL / CLASSES)
    heights = draw.uniform(0.7, 1.0, size=(count, 1))
    values = heights * pulses_at(centers) - pulses_at(draw.uniform(SHOWN_UNTIL + 1, LENGTH, size=count))
    values += 0.05 * draw.standard_normal(values.shape)
    return values[..., None].astype(np.float32), labels


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", nargs="?", help="saves both runs; by default nothing is saved")
    folder = parser.parse_args(arguments).folder
    sequences, labels = make_data(2_000, seed=0)
    test = make_data(500, seed=1)
    print(f"{len(labels):,} sequences {list(sequences.shape[1:])}, {CLASSES} classes")
    for auxiliary, name in (("none", "LSTM, no auxiliary loss"), ("reconstruct", "r-LSTM")):
        try:
            workdir = f"{folder}/{auxiliary}" if folder else None
            choices: dict[str, Any] = dict(auxiliary=auxiliary, workdir=workdir, progress=True)
            fitted = aux_rnn.fit(sequences, labels, test=test, **choices, **SETTINGS)
        except OneLineError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        right = np.mean(fitted.predict(test[0]) == test[1])
        print(f"{name:<24} test accuracy {100 * right:.1f} %  ({fitted.summary['seconds']:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
