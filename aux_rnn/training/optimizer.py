"""The optimizer and its learning rate, from the settings."""

from collections import Counter

import optax

from aux_rnn.config.settings import OptimizerConfig
from aux_rnn.training.plan import Plan

HALVED_AT = (0.3, 0.6, 0.9)  # shares of the joint training


def make_learning_rate(config: OptimizerConfig, plan: Plan) -> optax.Schedule:
    """Returns a constant rate for pretraining that is halved at 30, 60 and 90 % of the joint training."""
    halvings = Counter(plan.pretrain_steps + round(share * plan.train_steps) for share in HALVED_AT)
    return optax.piecewise_constant_schedule(
        config.learning_rate, {step: 0.5**times for step, times in halvings.items()}
    )


def make_optimizer(config: OptimizerConfig, plan: Plan) -> optax.GradientTransformation:
    """Clips by the global norm, then applies RMSProp (Tieleman and Hinton, 2012), Adam (Kingma and Ba, 2015) or SGD."""
    rate = make_learning_rate(config, plan)
    rule = {
        "rmsprop": lambda: optax.rmsprop(
            rate, config.rmsprop_decay, eps=config.rmsprop_epsilon, initial_scale=config.rmsprop_initial
        ),
        "adam": lambda: optax.adam(rate),
        "sgd": lambda: optax.sgd(rate),
    }[config.optimizer]()
    clipping = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clipping, rule)
