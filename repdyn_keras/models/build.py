"""The network and the optimizer that a configuration names."""

import keras

from repdyn_keras.config import Config
from repdyn_keras.config.keys import SAVED
from repdyn_keras.errors import InputError, unknown
from repdyn_keras.models.own import built_by, loaded
from repdyn_keras.models.resnet import resnet
from repdyn_keras.models.schedules import learning_rate
from repdyn_keras.models.size import require_room
from repdyn_keras.models.vit import vit

# The layers of interest: whole names match.
RECORDED = {
    "resnet": r"stem|stage\d+_block\d+|pooled",
    "vit": r"patch_embedding|block\d+|class_token",
}


def build_model(config: Config, image_shape: tuple[int, ...], n_classes: int) -> keras.Model:
    """The network of a resolved configuration, its weights drawn from `config.seed`.

    Raises:
        InputError: the network cannot take images of this shape, or the user's own cannot be
            loaded or built.
    """
    if config.model.endswith(SAVED):
        return loaded(config.model)
    if ":" in config.model:
        return built_by(config.model, image_shape, n_classes, config.seed)
    require_room(config)
    if config.model == "resnet":
        return resnet(
            image_shape,
            n_classes,
            width=config.width,
            blocks=config.blocks,
            stem=config.stem,
            seed=config.seed,
        )
    if config.model == "vit":
        height, width = image_shape[:2]
        if height % config.patch or width % config.patch:
            raise InputError(
                f"patch = {config.patch} does not divide images of {height} x {width} pixels. "
                "Expected a divisor of both sides: --set patch=..."
            )
        if config.width % config.heads:
            raise InputError(
                f"heads = {config.heads} does not divide width = {config.width}. Expected a "
                "divisor: --set heads=..."
            )
        return vit(
            image_shape,
            n_classes,
            patch=config.patch,
            width=config.width,
            depth=config.depth,
            heads=config.heads,
            seed=config.seed,
        )
    raise unknown("model", config.model, RECORDED)


def recorded_layers(config: Config) -> str | None:
    """The regular expression of the layers to record: the configured one, or the network's own.

    None leaves the choice among a user's layers to the recorder.
    """
    return config.layers or RECORDED.get(config.model)


def build_optimizer(config: Config, total_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a resolved configuration.

    SGD has momentum; `weight_decay` is decoupled for both (Loshchilov and Hutter 2019).

    Args:
        config: a resolved configuration.
        total_steps: training steps of the whole run, which the cosine schedule ends at.
    """
    rate = learning_rate(config.schedule, config.learning_rate, total_steps)
    decay = config.weight_decay or None
    if config.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=config.momentum, weight_decay=decay)
    if config.optimizer == "adam":
        return keras.optimizers.Adam(rate, weight_decay=decay)
    raise unknown("optimizer", config.optimizer, ("sgd", "adam"))
