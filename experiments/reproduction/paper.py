"""Test accuracies given in the paper, in percent: single runs, without intervals."""

from collections.abc import Mapping

# Trinh, Dai, Luong and Le (2018), table 2; 'truncated' is after 300 steps. Some versions lack the Transformer's row.
TABLE2: Mapping[tuple[str, str, str], float] = {
    (data, model, truncation): accuracy
    for model, truncation, accuracies in (
        ("lstm", "full", (98.3, 89.4, 58.8)),
        ("lstm", "truncated", (11.3, 88.8, 49.0)),
        ("transformer", "-", (98.9, 97.9, 62.2)),
        ("r-lstm", "truncated", (96.4, 92.8, 65.9)),
        ("p-lstm", "truncated", (95.4, 92.5, 64.7)),
        ("r-lstm", "full", (98.4, 95.2, 72.2)),
        ("p-lstm", "full", (98.0, 92.8, 67.6)),
    )
    for data, accuracy in zip(("mnist", "pmnist", "cifar10"), accuracies, strict=True)
}


def paper_accuracy(experiment: str, preset: str, data: str, model: str, truncation: str) -> float | None:
    """Returns the paper's accuracy for a row of a report, or None.

    In `bptt` with the paper's sizes, 300 steps are table 2's 'truncated'. The untruncated rows of the r- and p-LSTM
    differ from table 2, as their auxiliary losses remain truncated there.
    """
    if experiment == "bptt" and preset == "paper" and model in ("lstm", "r-lstm", "p-lstm"):
        if truncation == "full" and model != "lstm":
            return None
        truncation = {"300": "truncated"}.get(truncation, truncation)
    elif experiment not in ("table2", "curves"):
        return None
    return TABLE2.get((data, model, truncation))
