"""The training state, and the pretraining, training and evaluation steps, pmapped here and nowhere else.

Every device holds the same state and takes an equal share of the batch. The losses are divided by counts summed over
all devices before the gradients are summed, so that the result is the gradient of the whole batch's mean whatever the
layout.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.struct import PyTreeNode

from aux_rnn import metrics as metrics_lib
from aux_rnn.config import Config, SequenceSpec
from aux_rnn.losses import auxiliary_loss, supervised_loss, total_loss
from aux_rnn.metrics import Mean, Metrics
from aux_rnn.models import AuxiliaryRNN
from aux_rnn.optimizers import make_optimizer
from aux_rnn.plan import Plan
from aux_rnn.sequences import Segments, draw_segments, image_to_sequence

AXIS = "devices"
NEVER = np.iinfo(np.int32).max

Batch = dict[str, Any]


class TrainState(PyTreeNode):
    """All that a run must remember.

    Attributes:
      step: int32, complete steps.
      params: the network's parameters.
      opt_state: the optimizer's state.
      metrics: totals and counts since the last record of the training metrics.
      first_bad_step: int32, the first step whose loss or gradient was not finite; `NEVER` if none was.
    """

    step: jax.Array
    params: Any
    opt_state: optax.OptState
    metrics: Metrics
    first_bad_step: jax.Array


@dataclasses.dataclass(frozen=True)
class Steps:
    """The compiled steps.

    Attributes:
      pretrain: `(state, batch) -> state`, on the auxiliary loss alone. The old state's memory is reused.
      train: `(state, batch) -> state`, on the weighted sum of the losses.
      evaluate: `(params, batch) -> metrics` over the rows whose mask is true.
    """

    pretrain: Callable[[TrainState, Batch], TrainState]
    train: Callable[[TrainState, Batch], TrainState]
    evaluate: Callable[[Any, Batch], Metrics]


def metric_names(config: Config) -> tuple[str, ...]:
    auxiliary = [f"{kind}_loss" for kind in config.model.auxiliaries]
    return ("loss", "supervised_loss", "accuracy", *auxiliary, "gradient_norm")


def model_inputs(
    batch: Batch, spec: SequenceSpec, permutation: np.ndarray | None
) -> tuple[jax.Array, jax.Array | None]:
    """What the model reads: pixels `[B, L, C]` without lengths, or tokens int32 `[B, L]` with their lengths `[B]`."""
    if spec.vocabulary_size:
        return batch["inputs"].astype(jnp.int32), batch["lengths"]
    return image_to_sequence(batch["inputs"], permutation), None


def make_segments(
    config: Config, key: jax.Array, inputs: jax.Array, lengths: jax.Array | None, rows: jax.Array
) -> dict[str, Segments]:
    """Draws the segments of every auxiliary loss in use, each from its own key."""
    if lengths is None:
        lengths = jnp.full(inputs.shape[0], inputs.shape[1], jnp.int32)
    kinds = config.model.auxiliaries
    return {
        kind: draw_segments(k, kind, inputs, lengths, rows, config.model.num_anchors, config.model.segment_length)
        for kind, k in zip(kinds, jax.random.split(key, len(kinds)) if kinds else (), strict=True)
    }


def create_train_state(config: Config, spec: SequenceSpec, plan: Plan) -> TrainState:
    """The state before the first step, on the host."""
    # Parameters do not depend on lengths, so a short sequence makes them.
    model = AuxiliaryRNN(config.model, spec)
    short = jnp.zeros((1, 2), jnp.int32) if spec.vocabulary_size else jnp.zeros((1, 2, spec.channels))
    segments = {
        kind: Segments(jnp.ones((1, 1), jnp.int32), short[:, None, :1], short[:, None, :1], jnp.ones((1, 1, 1), bool))
        for kind in config.model.auxiliaries
    }
    params = jax.jit(model.init)(jax.random.key(config.run.seed), short, None, segments)["params"]
    return TrainState(
        step=jnp.int32(0),
        params=params,
        opt_state=make_optimizer(config.optimizer, plan).init(params),
        metrics={name: Mean.empty() for name in metric_names(config)},
        first_bad_step=jnp.int32(NEVER),
    )


def make_measure(config: Config, spec: SequenceSpec, permutation: np.ndarray | None) -> Callable[..., Metrics]:
    """The function `(params, batch, key, classify, deterministic)` to this device's share of all losses."""
    model = AuxiliaryRNN(config.model, spec)

    def measure(params: Any, batch: Batch, key: jax.Array, classify: bool, deterministic: bool) -> Metrics:
        inputs, lengths = model_inputs(batch, spec, permutation)
        anchor_key, dropconnect_key = jax.random.split(key)
        segments = make_segments(config, anchor_key, inputs, lengths, batch["rows"])
        logits, decoded = model.apply(
            {"params": params},
            inputs,
            lengths,
            segments,
            classify,
            deterministic,
            rngs={"dropconnect": dropconnect_key},
        )
        measured = {}
        if classify:
            measured["supervised_loss"] = supervised_loss(logits, batch["labels"], batch["mask"])
            measured["accuracy"] = Mean.of(logits.argmax(-1) == batch["labels"], batch["mask"])
        for kind, outputs in decoded.items():
            measured[f"{kind}_loss"] = auxiliary_loss(outputs, segments[kind], batch["mask"])
        # Counts do not depend on parameters: summed over the devices here, gradients can be summed later.
        return {name: Mean(mean.total, jax.lax.psum(mean.count, AXIS)) for name, mean in measured.items()}

    return measure


def make_steps(config: Config, spec: SequenceSpec, plan: Plan, permutation: np.ndarray | None = None) -> Steps:
    """Builds the steps of a run.

    A batch holds `inputs` uint8 `[D, B / D, height, width, C]` (text: tokens `[D, B / D, L]`, padded on the left, and
    their `lengths` int32), `labels` int32, `mask` bool and `rows` int32 `[D, B / D]`, the rows being each example's
    place in the global batch (in evaluation: in the split), from which its anchors are drawn.
    """
    measure = make_measure(config, spec, permutation)
    optimizer = make_optimizer(config.optimizer, plan)
    key = jax.random.key(config.run.seed)

    def update(state: TrainState, batch: Batch, classify: bool) -> TrainState:
        def loss_of(params: Any) -> tuple[jax.Array, Metrics]:
            measured = measure(params, batch, jax.random.fold_in(key, state.step), classify, deterministic=False)
            auxiliary = {kind: measured[f"{kind}_loss"] for kind in config.model.auxiliaries}
            loss = total_loss(measured.get("supervised_loss"), auxiliary, config.model.auxiliary_weight)
            return loss, measured

        (loss, measured), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        gradients = jax.lax.psum(gradients, AXIS)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        measured = {name: Mean(jax.lax.psum(m.total, AXIS), m.count) for name, m in measured.items()}
        measured["loss"] = Mean.once(jax.lax.psum(loss, AXIS))
        measured["gradient_norm"] = Mean.once(optax.tree.norm(gradients))
        return record(state, measured).replace(
            step=state.step + 1, params=optax.apply_updates(state.params, updates), opt_state=opt_state
        )

    def record(state: TrainState, measured: Metrics) -> TrainState:
        is_finite = jnp.isfinite(measured["loss"].total) & jnp.isfinite(measured["gradient_norm"].total)
        starts_anew = (state.step % plan.log_every == 0) | (state.step == plan.pretrain_steps)
        before = jax.tree.map(lambda m: jnp.where(starts_anew, 0, m), state.metrics)
        return state.replace(
            metrics=metrics_lib.merge(before, {name: measured.get(name, Mean.empty()) for name in before}),
            first_bad_step=jnp.minimum(state.first_bad_step, jnp.where(is_finite, NEVER, state.step + 1)),
        )

    def evaluate(params: Any, batch: Batch) -> Metrics:
        # A step that does not occur in training; the anchors are the same in every evaluation.
        measured = measure(params, batch, jax.random.fold_in(key, NEVER), classify=True, deterministic=True)
        return {name: Mean(jax.lax.psum(m.total, AXIS), m.count) for name, m in measured.items()}

    step = partial(jax.pmap, axis_name=AXIS, in_axes=(None, 0), out_axes=None)
    return Steps(
        pretrain=step(partial(update, classify=False), donate_argnums=0),
        train=step(partial(update, classify=True), donate_argnums=0),
        evaluate=step(evaluate),
    )


def replicate(state: TrainState) -> TrainState:
    """Puts the state on all devices in the way the steps return it, so that no step is compiled a second time."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), (AXIS,))
    return jax.device_put(state, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def shard(batch: Batch) -> Batch:
    """Divides the leading axis of every array over this process's devices: `[B, ...]` to `[D, B / D, ...]`."""
    devices = jax.local_device_count()
    return {name: values.reshape(devices, -1, *values.shape[1:]) for name, values in batch.items()}
