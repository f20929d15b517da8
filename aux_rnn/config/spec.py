"""The form of the sequences, and the checks of settings that depend on it or on the devices."""

import dataclasses

from aux_rnn.config.fields import setting_error
from aux_rnn.config.settings import Config, ModelConfig


@dataclasses.dataclass(frozen=True)
class SequenceSpec:
    """The shape of a data set's sequences, known before any example is read.

    Attributes:
      length: L, elements of the longest sequence.
      channels: C, values per element; 1 for tokens.
      num_classes: K.
      vocabulary_size: number of tokens, or 0 for sequences of real values.

    Examples:
      >>> SequenceSpec(length=1024, channels=3, num_classes=10)
      SequenceSpec(length=1024, channels=3, num_classes=10, vocabulary_size=0)
    """

    length: int
    channels: int
    num_classes: int
    vocabulary_size: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of a sequence: `(L, C)`, or `(L,)` for tokens."""
        return (self.length,) if self.vocabulary_size else (self.length, self.channels)

    def describe(self) -> str:
        """Returns '1,024 x 3', or 'at most 1,014 bytes'."""
        return f"at most {self.length:,} bytes" if self.vocabulary_size else f"{self.length:,} x {self.channels}"


def check_segment(config: ModelConfig, spec: SequenceSpec) -> None:
    """Raises ConfigError if the segment does not fit into the sequence (S <= a <= L or 1 <= a <= L - S)."""
    for kind in config.auxiliaries:
        longest = spec.length if kind == "reconstruct" else spec.length - 1
        if config.segment_length > longest:
            allowed = f"at most {longest} to {kind} sequences of {spec.length} elements"
            raise setting_error("segment_length", config.segment_length, allowed)


def check_devices(config: Config, devices: int) -> None:
    """Raises ConfigError if the devices do not divide the batch."""
    if config.run.batch_size % devices:
        allowed = f"a multiple of the {devices} devices of all processes (main.py --cpu_devices sets those of a CPU)"
        raise setting_error("batch_size", config.run.batch_size, allowed)
