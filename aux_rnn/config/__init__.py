"""Settings: their fields, checks and serialization."""

from aux_rnn.config.fields import ConfigError
from aux_rnn.config.serialization import from_flat, from_json, to_flat, to_json
from aux_rnn.config.settings import Config, DataConfig, ModelConfig, OptimizerConfig, RunConfig
from aux_rnn.config.spec import SequenceSpec

__all__ = [
    "Config",
    "ConfigError",
    "DataConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "SequenceSpec",
    "from_flat",
    "from_json",
    "to_flat",
    "to_json",
]
