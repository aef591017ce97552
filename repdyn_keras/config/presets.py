"""What a key holds when nobody set it, by data set, network and optimizer."""

import dataclasses

from repdyn_keras.config.keys import Config

# For small images. Sizes and epochs: so that a default run ends within three minutes on two cores.
# Learning rates: of the grid in benchmarks/README.md, the one with the fewest epochs to perfect fit
# among those whose test accuracy at the end is within 0.02 of the best.
NETWORKS = {
    "resnet": {"width": 8},
    "vit": {"width": 64, "patch": 4, "depth": 6, "heads": 4},
}
TRAININGS = {
    ("resnet", "sgd"): {"learning_rate": 0.05, "schedule": "inverse-sqrt", "batch_size": 128},
    ("resnet", "adam"): {"learning_rate": 1e-3, "schedule": "constant", "batch_size": 128},
    ("vit", "sgd"): {"learning_rate": 0.01, "schedule": "inverse-sqrt", "batch_size": 64},
    ("vit", "adam"): {"learning_rate": 5e-4, "schedule": "constant", "batch_size": 64},
}
EPOCHS = 102


def resolve(config: Config) -> Config:
    """The same configuration with every key that was left open filled by its preset."""
    preset = {
        "epochs": EPOCHS,
        **NETWORKS[config.model],
        **TRAININGS[config.model, config.optimizer],
    }
    missing = {name: value for name, value in preset.items() if getattr(config, name) is None}
    return dataclasses.replace(config, **missing)
