"""The network and the optimizer of a configuration, and what they are built of."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
from keras import ops

from repdyn_keras.config import NETWORKS, OPTIMIZERS, SCHEDULES, Config, require_memory, values_of
from repdyn_keras.config.registry import import_object
from repdyn_keras.seeds import initializer_seeds

# Bytes per weight in training: the weight, its gradient and one moment, in float32.
BYTES_PER_WEIGHT = 12
# Lists with more numbers are described by their length.
MAX_NUMBERS = 8


def build_model(config: Config, image_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """Builds the network of a resolved configuration, with weights drawn from `config.seed`.

    Args:
        config: a resolved configuration.
        image_shape: (height, width, channels).
        n_classes: number of classes.

    Raises:
        InputError: the network does not accept images of this shape or exceeds the memory of the
            machine, or a user's network cannot be loaded or built.
    """
    require_memory_for_weights(config)
    entry = NETWORKS.find(config.model)
    return entry.load_factory()(
        image_shape=image_shape,
        n_classes=n_classes,
        seed=config.seed,
        **values_of(config, entry.keys),
    )


def require_memory_for_weights(config: Config) -> None:
    """Raises InputError if the weights and their training state exceed the machine's memory.

    Args:
        config: a resolved configuration.
    """
    entry = NETWORKS.find(config.model)
    if entry.weights is None:
        return
    sizes = values_of(config, entry.size_keys)
    weights = import_object(entry.weights)(**sizes)
    described = " and ".join(f"{name} = {describe_size(value)}" for name, value in sizes.items())
    require_memory(
        BYTES_PER_WEIGHT * weights, f"the {config.model} with {described}", " or ".join(sizes)
    )


def describe_size(value: object) -> str:
    """The value of a size key, for messages."""
    if isinstance(value, tuple) and len(value) > MAX_NUMBERS:
        return f"{len(value)} numbers"
    return str(value)


def recorded_layers(config: Config) -> str | None:
    """Regular expression of the layers to record: the configured one, or the network's default.

    None for a user's network without a configured expression: the recorder then chooses.
    """
    return config.layers or NETWORKS.find(config.model).layers


def block_layers(config: Config) -> str | None:
    """Regular expression of the recorded layers that are blocks of the network.

    None for a user's network, whose blocks are unknown.
    """
    return NETWORKS.find(config.model).blocks


def seeded(seed: int) -> Callable[..., keras.initializers.Initializer]:
    """Returns a function that creates initializers, each with a new seed derived from `seed`.

    Global random state is neither used nor changed, so the same seed always gives the same network.
    """
    seeds = initializer_seeds(seed)

    def initializer(kind: str = "he_normal", **options: Any) -> keras.initializers.Initializer:
        config = {"seed": next(seeds), **options}
        return keras.initializers.get({"class_name": kind, "config": config})

    return initializer


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
