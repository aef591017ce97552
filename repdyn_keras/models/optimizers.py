"""Builds the optimizer of a configuration, and learning-rate schedules."""

from typing import Any, TypeAlias

import keras
from keras import ops

from repdyn_keras.config import OPTIMIZERS, SCHEDULES, Config, values_of

LearningRate: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule rate / sqrt(1 + floor(step / period)).

    Source: Nakkiran et al. 2020 (arXiv 1912.02292), 0.1 / sqrt(1 + floor(step / 512)) for SGD.

    Args:
        rate: initial learning rate.
        period: number of steps between two changes.
    """

    def __init__(self, rate: float, period: int = 512):
        self.rate = rate
        self.period = period

    def __call__(self, step: Any) -> Any:
        return self.rate / ops.sqrt(1 + ops.floor(ops.cast(step, "float32") / self.period))

    def get_config(self) -> dict[str, float]:
        return {"rate": self.rate, "period": self.period}


def constant(rate: float, total_steps: int) -> LearningRate:
    """Keeps the initial rate."""
    return rate


def inverse_sqrt(rate: float, total_steps: int) -> LearningRate:
    """Decreases the rate with the square root of the step."""
    return InverseSquareRoot(rate)


def cosine(rate: float, total_steps: int) -> LearningRate:
    """Decreases the rate to zero at the last step, along a cosine."""
    return keras.optimizers.schedules.CosineDecay(rate, max(1, total_steps))


def learning_rate(schedule: str, rate: float, total_steps: int) -> LearningRate:
    """The learning rate of a named schedule, as an argument of Keras's optimizers.

    Args:
        schedule: name of the schedule.
        rate: initial learning rate.
        total_steps: training steps of the whole run.

    Raises:
        InputError: there is no such schedule.
    """
    return SCHEDULES.find(schedule).load_factory()(rate, total_steps)


def build_optimizer(config: Config, total_steps: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer of a resolved configuration.

    `weight_decay` is decoupled from the gradient for every optimizer (Loshchilov and Hutter 2019,
    arXiv 1711.05101).

    Args:
        config: a resolved configuration.
        total_steps: training steps of the whole run, at which the cosine schedule ends.
    """
    entry = OPTIMIZERS.find(config.optimizer)
    schedule = values_of(config, ("schedule", "learning_rate"))
    rate = learning_rate(schedule["schedule"], schedule["learning_rate"], total_steps)
    return entry.load_factory()(
        rate, weight_decay=config.weight_decay or None, **values_of(config, entry.keys)
    )
