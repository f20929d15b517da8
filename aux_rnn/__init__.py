"""Auxiliary losses for recurrent networks on very long sequences (Trinh, Dai, Luong and Le, ICML 2018).

On arrays of your own, or on a data set by its name:

  fitted = aux_rnn.fit(sequences, labels, segment_length=100)
  fitted.predict(others)

`fit_dataset` takes 'tfds:NAME'; `joint_loss` adds the auxiliary losses to a loss of your own on any flax cell;
`encode_windows` and `Decoder` are its parts. A name imports its module when it is first used.
"""

from etils import epy

with epy.lazy_api_imports(globals()):
    from aux_rnn.api.estimator import SequenceClassifier
    from aux_rnn.api.fitted import Fitted, load
    from aux_rnn.api.fitting import fit, fit_dataset
    from aux_rnn.config.fields import ConfigError
    from aux_rnn.config.settings import ModelConfig
    from aux_rnn.config.spec import SequenceSpec
    from aux_rnn.datasets.errors import DataError
    from aux_rnn.model.decoder import Decoder
    from aux_rnn.model.losses import auxiliary_loss, supervised_loss
    from aux_rnn.model.metrics import Mean
    from aux_rnn.model.network import AuxiliaryRNN, Encoder
    from aux_rnn.model.objective import init_params, joint_loss
    from aux_rnn.model.segments import Segments, draw_segments
    from aux_rnn.recurrence.windows import Windows, encode_windows
    from aux_rnn.storage.checkpoints import CheckpointError
    from aux_rnn.storage.model_file import ModelFileError
    from aux_rnn.storage.workdir import StorageError, WorkdirError
    from aux_rnn.training.loop import TrainingError
    from aux_rnn.training.progress import Progress

__version__ = "0.1.0"

__all__ = [
    "AuxiliaryRNN",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Decoder",
    "Encoder",
    "Fitted",
    "Mean",
    "ModelConfig",
    "ModelFileError",
    "Progress",
    "Segments",
    "SequenceClassifier",
    "SequenceSpec",
    "StorageError",
    "TrainingError",
    "Windows",
    "WorkdirError",
    "auxiliary_loss",
    "draw_segments",
    "encode_windows",
    "fit",
    "fit_dataset",
    "init_params",
    "joint_loss",
    "load",
    "supervised_loss",
]
