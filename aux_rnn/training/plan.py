"""The plan of a run: the steps of each phase, and the steps after which it logs, evaluates and saves."""

import dataclasses

from aux_rnn.config.fields import LARGEST, setting_error
from aux_rnn.config.settings import Config


@dataclasses.dataclass(frozen=True)
class Plan:
    """The steps of a run, counted by how many are complete: in the state, the checkpoints and `metrics.jsonl`.

    Attributes:
      steps_per_epoch: full batches in the training set; the rest of an epoch is left out, another rest each time.
      pretrain_steps: steps on the auxiliary loss alone.
      train_steps: steps on the sum of the losses, after those.
    """

    steps_per_epoch: int
    pretrain_steps: int
    train_steps: int
    log_every: int
    evaluate_every: int
    checkpoint_every: int

    @classmethod
    def of(cls, config: Config, steps_per_epoch: int) -> "Plan":
        """Returns the plan of a configuration. Raises ConfigError for more steps than 32 bits count."""
        run = config.run
        plan = cls(
            steps_per_epoch=steps_per_epoch,
            pretrain_steps=run.pretrain_epochs * steps_per_epoch if config.model.auxiliaries else 0,
            train_steps=run.train_epochs * steps_per_epoch,
            log_every=run.log_every_steps,
            evaluate_every=run.evaluate_every_epochs * steps_per_epoch,
            checkpoint_every=run.checkpoint_every_steps,
        )
        if plan.total_steps > LARGEST:
            name = "train_epochs" if plan.train_steps >= plan.pretrain_steps else "pretrain_epochs"
            allowed = (
                f"fewer: at {steps_per_epoch:,} steps each, the epochs have more steps than the {LARGEST:,} counted"
            )
            raise setting_error(name, getattr(run, name), allowed)
        return plan

    @property
    def total_steps(self) -> int:
        return self.pretrain_steps + self.train_steps

    def phase(self, step: int) -> str:
        """Returns the phase of the step that follows after `step` complete ones."""
        return "pretrain" if step < self.pretrain_steps else "train"

    def ends_phase(self, step: int) -> bool:
        return step in (self.pretrain_steps, self.total_steps)

    def should_log(self, step: int) -> bool:
        return step % self.log_every == 0 or self.ends_phase(step)

    def should_evaluate(self, step: int) -> bool:
        return step % self.evaluate_every == 0 or self.ends_phase(step)

    def steps_until_due(self, step: int) -> int:
        """Returns the number of steps, at least one, until the run next logs, evaluates, saves or ends a phase."""
        periods = (self.log_every, self.evaluate_every, self.checkpoint_every)
        ends = [end - step for end in (self.pretrain_steps, self.total_steps) if end > step]
        return min(*(period - step % period for period in periods), *ends)

    def count_evaluations(self) -> int:
        """Returns the number of steps after which the run evaluates."""
        ends = {self.pretrain_steps, self.total_steps} - {0}
        return self.total_steps // self.evaluate_every + sum(step % self.evaluate_every != 0 for step in ends)

    def should_checkpoint(self, step: int) -> bool:
        return step % self.checkpoint_every == 0 or step == self.total_steps

    def should_draw(self, step: int) -> bool:
        """Returns True at the end of a phase and after evaluations 1, 2, 4, 8 ..., as more changes early on."""
        evaluations, rest = divmod(step, self.evaluate_every)
        return self.ends_phase(step) or (rest == 0 and evaluations.bit_count() == 1)
