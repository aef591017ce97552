"""What a key holds when nobody set it, by data set, network and optimizer."""

import dataclasses

from repdyn_keras.config.keys import Config
from repdyn_keras.errors import InputError, unknown

# For small images. Sizes and epochs: so that a default run ends within three minutes on two cores.
# Learning rates: of the grid in benchmarks/README.md, the one with the fewest epochs to perfect fit
# among those whose test accuracy at the end is within 0.02 of the best.
NETWORKS = {
    "resnet": {"width": 8, "blocks": (2, 2, 2, 2), "stem": "small"},
    "vit": {"width": 64, "patch": 4, "depth": 6, "heads": 4},
}
TRAININGS = {
    ("resnet", "sgd"): {"learning_rate": 0.05, "schedule": "inverse-sqrt", "batch_size": 128},
    ("resnet", "adam"): {"learning_rate": 1e-3, "schedule": "constant", "batch_size": 128},
    ("vit", "sgd"): {"learning_rate": 0.01, "schedule": "inverse-sqrt", "batch_size": 64},
    ("vit", "adam"): {"learning_rate": 5e-4, "schedule": "constant", "batch_size": 64},
    # For a network of the user's own, of which nothing is known.
    ("own", "sgd"): {"learning_rate": 0.01, "schedule": "inverse-sqrt", "batch_size": 128},
    ("own", "adam"): {"learning_rate": 1e-3, "schedule": "constant", "batch_size": 128},
}
EPOCHS = 102
# Sizes of published networks, by network: `--set preset=NAME`.
# resnet: blocks of He et al. 2016 (arXiv 1512.03385), table 1; with "-cifar" the stem for small
# images and the width 64 of Nakkiran et al. 2020 (arXiv 1912.02292).
# vit: mu16 of big_vision's table of sizes; ti16 and s16 of Touvron et al. 2021 (arXiv 2012.12877),
# table 1; b16 of Dosovitskiy et al. 2021 (arXiv 2010.11929), table 1.
PRESETS = {
    "resnet": {
        "resnet18": {"width": 64, "blocks": (2, 2, 2, 2), "stem": "imagenet"},
        "resnet34": {"width": 64, "blocks": (3, 4, 6, 3), "stem": "imagenet"},
        "resnet18-cifar": {"width": 64, "blocks": (2, 2, 2, 2), "stem": "small"},
        "resnet34-cifar": {"width": 64, "blocks": (3, 4, 6, 3), "stem": "small"},
    },
    "vit": {
        "vit-mu16": {"width": 32, "depth": 1, "heads": 2, "patch": 16},
        "vit-ti16": {"width": 192, "depth": 12, "heads": 3, "patch": 16},
        "vit-s16": {"width": 384, "depth": 12, "heads": 6, "patch": 16},
        "vit-b16": {"width": 768, "depth": 12, "heads": 12, "patch": 16},
    },
}


def resolve(config: Config) -> Config:
    """The same configuration with every key that was left open filled by its preset.

    Raises:
        InputError: the preset is unknown, or one of another network.
    """
    own = config.model not in NETWORKS
    preset = {
        "epochs": EPOCHS,
        "data_seed": config.seed,
        **NETWORKS.get(config.model, {}),
        **TRAININGS["own" if own else config.model, config.optimizer],
    }
    if config.preset is not None:
        preset |= sizes(config)
    missing = {name: value for name, value in preset.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **missing)


def sizes(config: Config) -> dict:
    """The sizes that the configuration's preset names."""
    if config.model not in PRESETS:
        raise InputError(
            f"preset = {config.preset!r} came with the network {config.model!r}. Expected none: "
            "it has its sizes already."
        )
    of_network = PRESETS[config.model]
    if config.preset not in of_network:
        raise unknown(f"preset of {config.model}", config.preset, of_network)
    return of_network[config.preset]
