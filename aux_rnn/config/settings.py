"""All settings of an experiment, with their defaults, help texts and constraints.

The settings are frozen dataclasses. Constructing one checks each value, so every configuration is valid in itself;
`check_segment` checks what depends on the data. The command line is made from the same fields
(`experiments/cli/parsing.py`): a flag has the name, the default and the help text of its field. Defaults are the
paper's where it states them (Trinh, Dai, Luong and Le, 2018); `docs/method.md` gives reasons for the others.
"""

import dataclasses

from aux_rnn.config.fields import (
    MAX_LAYERS,
    Count,
    Encoder,
    Settings,
    Truncation,
    encoder_of,
    format_value,
    integer,
    integer_or,
    number,
    one_of,
    plain_text,
    positive_sizes,
    setting,
    setting_error,
    switch,
)

AUXILIARIES = ("none", "reconstruct", "predict", "both")
# The recurrent cells, with the name of the class: of `aux_rnn.recurrence.cells` for lstm, else of `flax.linen`.
CELLS = {
    "lstm": "LSTMCell",
    "gru": "GRUCell",
    "mgu": "MGUCell",
    "simple": "SimpleCell",
}
ENCODERS = (*CELLS, "transformer")
PIXEL_LOSSES = ("squared", "softmax")
RECURRENCES = ("auto", "scan", "fused", "pallas")
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")
SIDES, ORDERS = ("auto", "left", "right"), ("auto", "first", "last")
OPTIMIZERS = ("rmsprop", "adam", "sgd")
WHEN = ("auto", "always", "never")
MAX_STEPS = 64  # of a dispatch, with which the indices of their examples are sent

COUNT, POSITIVE, SHARE = integer(0), integer(1), number(0, 1, excluding=1)
SIZES, SWITCH, TEXT = positive_sizes(), switch(), plain_text()


@dataclasses.dataclass(frozen=True)
class DataConfig(Settings):
    """Which sequences are learned from."""

    dataset: str = setting(
        "mnist",
        "Data set: mnist, pmnist, fashion_mnist, kmnist, emnist/balanced and others, cifar10, stanford_dogs or dbpedia "
        "(text); digits, digits_text (text) or recall, which need no files; tfds:NAME, images or float sequences that "
        "tfds has prepared, stored as array_record or TFRecord; or file:PATH, your own .npz, .csv, .tsv or .ts.",
        TEXT,
    )
    data_dir: str = setting("", "Folder of prepared data; empty: $TFDS_DATA_DIR, or ~/tensorflow_datasets.", TEXT)
    manual_dir: str = setting("", "Folder with the official files, for machines without network.", TEXT)
    allow_partial: bool = setting(False, "Accept official files that differ from the published ones.", SWITCH)
    image_size: int = setting(0, "Side in pixels to shrink images to; 0 keeps the size (stanford_dogs: 128).", COUNT)
    sequence_length: int = setting(0, "Length of recall (0: 64); maximum length of a text (0: its longest).", COUNT)
    train_examples: int = setting(0, "Maximum number of training examples; 0 takes all.", COUNT)
    validation_fraction: float = setting(0.1, "Share of the training data that is held out for validation.", SHARE)
    padding: str = setting("auto", "Side of the padding of file:PATH: auto, left or right.", one_of(SIDES))
    channels: str = setting(
        "auto", "Axis order of file:PATH, by the place of the channels: auto, first or last.", one_of(ORDERS)
    )
    permutation_seed: int = setting(0, "Seed of pmnist's one fixed permutation of the pixels.", COUNT)


@dataclasses.dataclass(frozen=True)
class ModelConfig(Settings):
    """The recurrent network, its decoders, and how far each gradient reaches.

    Every field is described in its `help`, and is a flag of `experiments/main.py`; sizes are numbers of units, lengths
    and truncations numbers of elements. The defaults follow the paper (Trinh, Dai, Luong and Le, 2018) where it states
    a value; docs/method.md lists the other choices.

    Raises:
      ConfigError: a value is not allowed, or two of them contradict each other.

    Examples:
      >>> config = ModelConfig(auxiliary="both", supervised_truncation="full")
      >>> config.auxiliaries, config.hidden_size
      (('reconstruct', 'predict'), 128)
    """

    encoder: Encoder = setting(
        "lstm", f"Encoder, a recurrent cell or a Transformer: {', '.join(ENCODERS)}.", encoder_of(ENCODERS)
    )
    recurrence: str = setting(
        "auto",
        "How an LSTM is computed: scan (step by step, differentiated automatically), fused (the same, faster), pallas "
        "(kernels for TPUs) or auto (pallas on TPUs on which it agrees with a scan, else fused).",
        one_of(RECURRENCES),
    )
    precision: str = setting(
        "float32",
        "Precision of the inputs of matrix products: float32, tensorfloat32 (on NVIDIA GPUs, elsewhere float32) or "
        "bfloat16; sums are float32.",
        one_of(PRECISIONS),
    )
    embedding_size: int = setting(128, "Size of the input embedding.", POSITIVE)
    hidden_size: int = setting(128, "Units of the recurrent layer.", POSITIVE)
    head_sizes: tuple[int, ...] = setting((256, 256), "Hidden layers of the classifier.", SIZES)
    decoder_sizes: tuple[int, ...] = setting((256, 256), "Recurrent layers of the decoder, bottom first.", SIZES)
    decoder_head_sizes: tuple[int, ...] = setting((256, 256), "Hidden layers of the decoder's output network.", SIZES)
    dropconnect: float = setting(0.0, "Rate of DropConnect for the last matrix of both heads.", SHARE)
    auxiliary: str = setting(
        "reconstruct",
        "Auxiliary loss: none (LSTM), reconstruct (r-LSTM), predict (p-LSTM) or both.",
        one_of(AUXILIARIES),
    )
    auxiliary_weight: float = setting(1.0, "Weight of the auxiliary loss relative to the supervised loss.", number(0))
    num_anchors: int = setting(1, "Anchors drawn per example and step.", POSITIVE)
    segment_length: int = setting(600, "Elements to reconstruct or predict at an anchor.", POSITIVE)
    teacher_forcing: bool = setting(True, "Feed the decoder the true previous element, not its own output.", SWITCH)
    decoder_input_dropout: float = setting(
        0.0, "Dropout rate of the decoder's inputs after the first; 1 keeps only the first.", number(0, 1)
    )
    pixel_loss: str = setting(
        "squared", "Auxiliary loss of pixels: squared error, or softmax over 256 levels.", one_of(PIXEL_LOSSES)
    )
    supervised_truncation: Truncation = setting(
        300,
        "Steps that the gradient of the supervised loss goes back through; 'full': all; 0: none.",
        integer_or("full", 0),
    )
    auxiliary_truncation: Truncation = setting(
        300,
        "Steps before the anchor that the gradient of the auxiliary loss goes back through; 'full': all; 0: none.",
        integer_or("full", 0),
    )
    decoder_truncation: Truncation = setting(
        300, "Steps between two truncations of the decoder's gradient; 'full': none.", integer_or("full", 1)
    )
    transformer_layers: int = setting(4, "Layers of --encoder=transformer.", integer(1, MAX_LAYERS))
    transformer_size: int = setting(64, "Width of --encoder=transformer; its inner layers are twice as wide.", POSITIVE)
    transformer_heads: int = setting(4, "Attention heads of --encoder=transformer, a divisor of its width.", POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        encoder, precision = format_value(self.encoder), self.precision
        if encoder != "lstm" and self.recurrence in ("fused", "pallas"):
            how = self.recurrence
            raise setting_error("recurrence", how, f"auto or scan with encoder={encoder}; {how} is for lstm")
        if encoder != "lstm" and precision != "float32":
            raise setting_error("precision", precision, f"float32 with encoder={encoder}; {precision} is for lstm")
        if encoder == "transformer" and self.auxiliary != "none":
            allowed = "none with encoder=transformer, which has no state to decode from"
            raise setting_error("auxiliary", self.auxiliary, allowed)
        if encoder == "transformer" and self.transformer_size % self.transformer_heads:
            allowed = f"a divisor of transformer_size={self.transformer_size}"
            raise setting_error("transformer_heads", self.transformer_heads, allowed)

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """Returns the auxiliary losses in use, one decoder each: a part of ('reconstruct', 'predict')."""
        return {"none": (), "both": ("reconstruct", "predict")}.get(self.auxiliary, (self.auxiliary,))


@dataclasses.dataclass(frozen=True)
class OptimizerConfig(Settings):
    """How the gradient becomes an update."""

    optimizer: str = setting("rmsprop", f"Optimizer: {', '.join(OPTIMIZERS)}.", one_of(OPTIMIZERS))
    learning_rate: float = setting(
        1e-3, "Learning rate, halved after 30, 60 and 90 % of the joint training.", number(0, excluding=0)
    )
    rmsprop_decay: float = setting(0.9, "Decay of RMSProp's running mean of squared gradients.", SHARE)
    rmsprop_epsilon: float = setting(1e-8, "Added to RMSProp's running mean, under the root.", number(0, excluding=0))
    rmsprop_initial: float = setting(0.0, "Initial value of RMSProp's running mean; TensorFlow 1: 1.", number(0))
    clip_norm: float = setting(1.0, "Largest global norm of the gradient; 0 does not clip.", number(0))


@dataclasses.dataclass(frozen=True)
class RunConfig(Settings):
    """How long to train, on what batches, and what to write during training."""

    seed: int = setting(0, "Seed of everything: initialization, order, anchors, validation split.", COUNT)
    batch_size: int = setting(128, "Examples per step, over all devices.", POSITIVE)
    pretrain_epochs: int = setting(20, "Epochs on the auxiliary loss alone, before joint training.", COUNT)
    train_epochs: int = setting(100, "Epochs on the supervised and the auxiliary loss together.", COUNT)
    log_every_steps: int = setting(50, "Steps between two records of the training metrics.", POSITIVE)
    evaluate_every_epochs: int = setting(1, "Epochs between two evaluations on the validation split.", POSITIVE)
    evaluate_test: bool = setting(False, "Evaluate the test split with the validation split, for curves only.", SWITCH)
    checkpoint_every_steps: int = setting(500, "Steps between two checkpoints.", POSITIVE)
    data_on_device: str = setting(
        "auto",
        "Whether every device holds the training examples, so that the host need not send batches: always, never, or "
        "auto (up to 256 MiB, on a CPU for all devices together).",
        one_of(WHEN),
    )
    steps_per_dispatch: Count = setting(
        "auto",
        "Most steps that are started at once where the devices hold the examples; auto: one until the first record, "
        "then as many as take 0.1 seconds.",
        integer_or("auto", 1, MAX_STEPS),
    )
    pictures: bool = setting(
        True,
        "Draw reconstructions (after evaluations 1, 2, 4, 8 ... and each phase), write TensorBoard events, "
        "and at the end curves and report.html.",
        SWITCH,
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of an experiment."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        pretrain_epochs = self.run.pretrain_epochs if self.model.auxiliaries else 0
        if pretrain_epochs + self.run.train_epochs == 0:
            raise setting_error(
                "train_epochs", 0, f"at least 1 where there is no pretraining (auxiliary={self.model.auxiliary})"
            )
