"""The training state, and the pretraining, training and evaluation steps.

Every device holds the same state and takes an equal share of the batch. The losses are divided by counts summed over
all devices before the gradients are summed, so that the result is the gradient of the whole batch's mean whatever the
layout.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.struct import PyTreeNode

from aux_rnn import metrics as metrics_lib
from aux_rnn.config import Config, SequenceSpec
from aux_rnn.losses import total_loss
from aux_rnn.metrics import Mean, Metrics
from aux_rnn.objectives import Batch, init_params, make_losses, make_measure, make_model, make_reader
from aux_rnn.optimizers import make_optimizer
from aux_rnn.plan import Plan
from aux_rnn.sharding import AXIS, CompiledStep

NEVER = np.iinfo(np.int32).max


class TrainState(PyTreeNode):
    """All that a run must remember.

    Attributes:
      step: int32, complete steps.
      params: the network's parameters.
      opt_state: the optimizer's state.
      key: data of the run's random key, from which the keys of all steps follow. It is no constant of the compiled
        steps, so that runs which differ in their seed alone share one compilation.
      metrics: totals and counts since the last record of the training metrics.
      first_bad_step: int32, the first step whose loss or gradient was not finite; `NEVER` if none was.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    key: jax.Array
    metrics: Metrics
    first_bad_step: jax.Array


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a run, each compiled on its first call and freed with this object.

    Attributes:
      pretrain: `(state, batch) -> state`, on the auxiliary loss alone. The old state's memory is reused.
      train: `(state, batch) -> state`, on the weighted sum of the losses.
      evaluate: `(params, batch) -> metrics` over the rows whose mask is true.
      classify: `(params, batch) -> {'logits' float32 [B, K], 'labels' and 'rows' int32 [B], 'mask' bool [B]}`, of the
        whole global batch in every process, in the order of the devices.
    """

    pretrain: CompiledStep
    train: CompiledStep
    evaluate: CompiledStep
    classify: CompiledStep


def metric_names(config: Config) -> tuple[str, ...]:
    auxiliary = [f"{kind}_loss" for kind in config.model.auxiliaries]
    return ("loss", "supervised_loss", "accuracy", *auxiliary, "gradient_norm")


def create_train_state(config: Config, spec: SequenceSpec, plan: Plan) -> TrainState:
    """The state before the first step, on the host."""
    key = jax.random.key(config.run.seed)
    params = init_params(make_model(config.model, spec), key)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=make_optimizer(config.optimizer, plan).init(params),
        key=jax.random.key_data(key),
        metrics={name: Mean.empty() for name in metric_names(config)},
        first_bad_step=jnp.int32(NEVER),
    )


def lend_states(states: Any, batch: Batch) -> Any:
    """For each example the states of the next one in the global batch, leaves `[B / D, ...]`.

    The examples that count come first in a batch that is filled up; the last of them gets the first one's states. The
    order is that of the rows, as devices of several processes need not be numbered in the order of the processes.
    """
    rows = jax.lax.all_gather(batch["rows"], AXIS, tiled=True)
    following = (batch["rows"] - rows.min() + 1) % jnp.maximum(jax.lax.psum(batch["mask"].sum(), AXIS), 1)
    others = jnp.argsort(rows)[following]
    return jax.tree.map(lambda s: jax.lax.all_gather(s, AXIS, tiled=True)[others], states)


def make_steps(config: Config, spec: SequenceSpec, plan: Plan, permutation: np.ndarray | None = None) -> Steps:
    """Builds the steps of a run.

    A batch holds `inputs` as in `Examples`, each `[D, B / D, ...]`, where they are padded their `lengths` int32,
    `labels` int32, `mask` bool and `rows` int32 `[D, B / D]`, the rows being each example's place in the global batch
    (in evaluation: in the split), from which its anchors are drawn.
    """
    model, read = make_model(config.model, spec), make_reader(spec, permutation)
    losses, measure = make_losses(config, model, read), make_measure(config, model, read, lend_states)
    optimizer = make_optimizer(config.optimizer, plan)

    def update(state: TrainState, batch: Batch, classify: bool) -> TrainState:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def loss_of(params: Any) -> tuple[jax.Array, Metrics]:
            # Counts do not depend on parameters: summed over the devices here, gradients can be summed later.
            measured = {
                name: Mean(mean.total, jax.lax.psum(mean.count, AXIS))
                for name, mean in losses(params, batch, key, classify).items()
            }
            auxiliary = {kind: measured[f"{kind}_loss"] for kind in config.model.auxiliaries}
            loss = total_loss(measured.get("supervised_loss"), auxiliary, config.model.auxiliary_weight)
            return loss, measured

        (loss, measured), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        gradients = jax.lax.psum(gradients, AXIS)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        measured = {name: Mean(jax.lax.psum(m.total, AXIS), m.count) for name, m in measured.items()}
        measured["loss"] = Mean.once(jax.lax.psum(loss, AXIS))
        measured["gradient_norm"] = Mean.once(optax.tree.norm(gradients))
        return record_metrics(state, measured, plan).replace(
            step=state.step + 1, params=optax.apply_updates(state.params, updates), opt_state=opt_state
        )

    def evaluate(params: Any, batch: Batch) -> Metrics:
        return jax.lax.psum(measure(params, batch), AXIS)

    def classify(params: Any, batch: Batch) -> Batch:
        logits, _ = model.apply({"params": params}, *read(batch))
        own = {"logits": logits, **{name: batch[name] for name in ("labels", "rows", "mask")}}
        return jax.lax.all_gather(own, AXIS, tiled=True)

    return Steps(
        pretrain=CompiledStep(partial(update, classify=False), donates=True),
        train=CompiledStep(partial(update, classify=True), donates=True),
        evaluate=CompiledStep(evaluate),
        classify=CompiledStep(classify),
    )


def record_metrics(state: TrainState, measured: Metrics, plan: Plan) -> TrainState:
    """The state with what the step after it has measured, added to the totals since the last record."""
    is_finite = jnp.isfinite(measured["loss"].total) & jnp.isfinite(measured["gradient_norm"].total)
    starts_anew = (state.step % plan.log_every == 0) | (state.step == plan.pretrain_steps)
    before = jax.tree.map(lambda m: jnp.where(starts_anew, 0, m), state.metrics)
    return state.replace(
        metrics=metrics_lib.merge(before, {name: measured.get(name, Mean.empty()) for name in before}),
        first_bad_step=jnp.minimum(state.first_bad_step, jnp.where(is_finite, NEVER, state.step + 1)),
    )
