"""Courses of the learning rate."""

import keras
from keras import ops

from repdyn_keras.errors import unknown


class InverseSquareRoot(keras.optimizers.schedules.LearningRateSchedule):
    """rate / sqrt(1 + floor(step / period)).

    Source: Nakkiran et al. 2020 (arXiv 1912.02292), 0.1 / sqrt(1 + floor(step / 512)) for SGD.

    Args:
        rate: learning rate at the start.
        period: steps between two changes.
    """

    def __init__(self, rate: float, period: int = 512):
        self.rate = rate
        self.period = period

    def __call__(self, step):
        return self.rate / ops.sqrt(1 + ops.floor(ops.cast(step, "float32") / self.period))

    def get_config(self):
        return {"rate": self.rate, "period": self.period}


def learning_rate(schedule: str, rate: float, total_steps: int):
    """A learning rate, or its schedule, by name."""
    if schedule == "constant":
        return rate
    if schedule == "inverse-sqrt":
        return InverseSquareRoot(rate)
    if schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(rate, max(1, total_steps))
    raise unknown("schedule", schedule, ("constant", "inverse-sqrt", "cosine"))
