"""The training state, and the pretraining, training and evaluation steps.

Every device holds the same state and takes an equal share of the batch. It divides its sums by the counts over all
devices (`psum`). The sum of the devices' gradients is then the gradient of the global batch's mean, however the batch
is sharded.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.struct import PyTreeNode

from aux_rnn.config.settings import Config
from aux_rnn.config.spec import SequenceSpec
from aux_rnn.model import metrics as metrics_lib
from aux_rnn.model.inputs import Batch, RawBatch, read_batch
from aux_rnn.model.losses import supervised_loss
from aux_rnn.model.metric_names import CLASSIFIER_METRICS
from aux_rnn.model.metrics import Mean, Metrics
from aux_rnn.model.objective import (
    Losses,
    compute_losses,
    evaluate_losses,
    init_params,
    logit_metrics,
    loss_metrics,
    make_model,
    total_loss,
)
from aux_rnn.training.optimizer import make_optimizer
from aux_rnn.training.plan import Plan
from aux_rnn.training.sharding import AXIS, CompiledStep

NO_STEP = np.iinfo(np.int32).max  # so that the minimum keeps the first step that was not finite


class TrainState(PyTreeNode):
    """The state of training; a checkpoint stores it.

    Attributes:
      step: int32, complete steps.
      params: the network's parameters.
      opt_state: the optimizer's state.
      key: data of the run's random key, from which the keys of all steps are derived. It is an argument of the compiled
        steps, not a constant, so that runs that differ only in their seed share one compilation.
      metrics: totals and counts since the last record of the training metrics.
      first_nonfinite_step: int32, the first step whose loss or gradient was not finite; `NO_STEP` if none was.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    key: jax.Array
    metrics: Metrics
    first_nonfinite_step: jax.Array


@dataclasses.dataclass(frozen=True)
class Steps:
    """The steps of a run, each compiled on its first call and freed with this object.

    Attributes:
      pretrain: `(state, batch) -> state`, on the auxiliary loss alone, which reuses the old state's memory. The loop
        takes steps with the two `*_many` below; tests and the benchmark use single steps.
      train: `(state, batch) -> state`, on the weighted sum of the losses.
      pretrain_many, train_many: `(state, batch, examples) -> state` after `count` steps of one of these two. The batch
        holds `count` int32 `[D]`, equal on all D devices; `rows`, which all steps have in common; and `indices` int32
        `[D, N, B / D]` of the examples of at most N steps, in the replicated arrays `examples` or, if those are empty,
        in the batch's own `examples`, leaves `[D, B / D, ...]`. The inputs of either may be flat.
      evaluate: `(params, batch) -> metrics` over the rows whose mask is true.
      predict: `(params, batch) -> {'logits' float32 [B, K], 'labels' and 'rows' int32 [B], 'mask' bool [B]}` of the
        whole global batch in every process, in the order of the devices.
    """

    pretrain: CompiledStep
    train: CompiledStep
    pretrain_many: CompiledStep
    train_many: CompiledStep
    evaluate: CompiledStep
    predict: CompiledStep


def metric_names(config: Config) -> tuple[str, ...]:
    auxiliary = [f"{kind}_loss" for kind in config.model.auxiliaries]
    return ("loss", "supervised_loss", *CLASSIFIER_METRICS, *auxiliary, "gradient_norm")


def create_train_state(config: Config, spec: SequenceSpec, plan: Plan) -> TrainState:
    """Creates the state before the first step, on the host."""
    key = jax.random.key(config.run.seed)  # the steps fold their number into it, so that their keys differ from this
    params = init_params(make_model(config.model, spec), key)
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=make_optimizer(config.optimizer, plan).init(params),
        key=jax.random.key_data(key),
        metrics={name: Mean.empty() for name in metric_names(config)},
        first_nonfinite_step=jnp.int32(NO_STEP),
    )


def empty_train_state(config: Config, spec: SequenceSpec, plan: Plan) -> TrainState:
    """Returns zeros in the shapes and dtypes of `create_train_state`, on the host, to restore a checkpoint into."""
    shapes = jax.eval_shape(partial(create_train_state, config, spec, plan))
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def roll_states_over_batch(states: Any, batch: Batch) -> Any:
    """Gives each example the states of the next one in the global batch, leaves `[B / D, ...]`.

    In a padded batch the examples precede the padding; the last example gets the states of the first one.
    Rows give the order, because the devices of several processes need not be numbered in the order of the processes.
    """
    rows = jax.lax.all_gather(batch.rows, AXIS, tiled=True)
    following = (batch.rows - rows.min() + 1) % jnp.maximum(jax.lax.psum(batch.mask.sum(), AXIS), 1)
    others = jnp.argsort(rows)[following]
    return jax.tree.map(lambda s: jax.lax.all_gather(s, AXIS, tiled=True)[others], states)


def make_steps(
    config: Config,
    spec: SequenceSpec,
    plan: Plan,
    permutation: np.ndarray | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Steps:
    """Builds the steps of a run, for `devices` as in `CompiledStep`.

    Except for several steps, a batch holds `inputs` as in `Examples`, each `[D, B / D, ...]`, where they are padded
    their `lengths` int32, `labels` int32, `mask` bool and `rows` int32 `[D, B / D]`, the rows being each example's
    place in the global batch (in evaluation: in the split), from which its anchors are drawn.
    """
    model, optimizer = make_model(config.model, spec), make_optimizer(config.optimizer, plan)
    make_batch = partial(read_batch, spec=spec, permutation=permutation)

    def update(state: TrainState, raw: RawBatch, train_classifier: bool) -> TrainState:
        batch = make_batch(raw)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)

        def classifier_loss(logits: jax.Array) -> Mean:
            return supervised_loss(logits, batch.labels, batch.mask)

        def loss_fn(params: Any) -> tuple[jax.Array, Losses]:
            losses = compute_losses(model, params, key, batch, classifier_loss if train_classifier else None)
            # A count is a constant for the gradient: it is summed over the devices here, and the gradients below.
            losses = losses.map_means(lambda mean: Mean(mean.total, jax.lax.psum(mean.count, AXIS)))
            return total_loss(losses, config.model.auxiliary_weight), losses

        (loss, losses), gradients = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        gradients = jax.lax.psum(gradients, AXIS)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        metrics = loss_metrics(losses.map_means(lambda mean: Mean(jax.lax.psum(mean.total, AXIS), mean.count)))
        if train_classifier:
            metrics |= jax.lax.psum(logit_metrics(losses.outputs, batch), AXIS)
        metrics["loss"] = Mean.once(jax.lax.psum(loss, AXIS))
        metrics["gradient_norm"] = Mean.once(optax.tree.norm(gradients))
        return accumulate_metrics(state, metrics, plan).replace(
            step=state.step + 1, params=optax.apply_updates(state.params, updates), opt_state=opt_state
        )

    def evaluate(params: Any, raw: RawBatch) -> Metrics:
        return jax.lax.psum(evaluate_losses(model, params, make_batch(raw), roll_states_over_batch), AXIS)

    pretrain, train = (partial(update, train_classifier=is_joint) for is_joint in (False, True))
    return Steps(
        pretrain=CompiledStep(pretrain, donates=True, devices=devices),
        train=CompiledStep(train, donates=True, devices=devices),
        pretrain_many=CompiledStep(partial(update_many, pretrain, spec), donates=True, devices=devices),
        train_many=CompiledStep(partial(update_many, train, spec), donates=True, devices=devices),
        evaluate=CompiledStep(evaluate, devices=devices),
        predict=CompiledStep(partial(gather_predictions, model, make_batch), devices=devices),
    )


def update_many(
    update: Callable[[TrainState, RawBatch], TrainState],
    spec: SequenceSpec,
    state: TrainState,
    batch: RawBatch,
    examples: RawBatch,
) -> TrainState:
    """Returns the state after several updates, as `Steps.train_many` does, on one device."""

    def update_once(number: jax.Array, state: TrainState) -> TrainState:
        indices = batch["indices"][number]
        chosen = {name: values[indices] for name, values in (examples or batch["examples"]).items()}
        chosen["inputs"] = chosen["inputs"].reshape(indices.size, *spec.shape)
        return update(state, {**chosen, "rows": batch["rows"], "mask": jnp.ones(indices.shape, bool)})

    return jax.lax.fori_loop(0, batch["count"], update_once, state)


def gather_predictions(
    model: nn.Module, make_batch: Callable[[RawBatch], Batch], params: Any, raw: RawBatch
) -> RawBatch:
    """Returns the logits, labels, rows and mask of the global batch, leaves `[B, ...]`, on every device."""
    batch = make_batch(raw)
    logits, _ = model.apply({"params": params}, batch.inputs, batch.lengths)
    own = {"logits": logits, "labels": batch.labels, "rows": batch.rows, "mask": batch.mask}
    return jax.lax.all_gather(own, AXIS, tiled=True)


def accumulate_metrics(state: TrainState, metrics: Metrics, plan: Plan) -> TrainState:
    """Returns the state with the metrics of a step added to the totals since the last record."""
    is_finite = jnp.isfinite(metrics["loss"].total) & jnp.isfinite(metrics["gradient_norm"].total)
    # A record was written after `state.step` steps: new totals begin.
    resets = (state.step % plan.log_every == 0) | (state.step == plan.pretrain_steps)
    before = jax.tree.map(lambda m: jnp.where(resets, 0, m), state.metrics)
    return state.replace(
        metrics=metrics_lib.merge(before, {name: metrics.get(name, Mean.empty()) for name in before}),
        first_nonfinite_step=jnp.minimum(state.first_nonfinite_step, jnp.where(is_finite, NO_STEP, state.step + 1)),
    )
