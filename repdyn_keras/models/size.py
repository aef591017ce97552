"""Whether the machine's memory holds a network, before any of it is built."""

from repdyn_keras.config import Config, require_memory

# Bytes that training takes for a weight: itself, its gradient and one moment, in float32.
BYTES = 12
# Weights beyond which none need be counted.
ENOUGH = 2**60


def require_room(config: Config) -> None:
    """Raises InputError where a network's weights alone are beyond the machine's memory.

    Args:
        config: a resolved configuration.
    """
    keys = {"resnet": ("width", "blocks"), "vit": ("width", "depth")}.get(config.model)
    if keys is None:
        return
    weights = of_resnet(config) if config.model == "resnet" else 12 * config.depth * config.width**2
    sizes = f"width = {config.width}"
    if config.model == "vit":
        sizes += f" and depth = {config.depth}"
    else:
        sizes += f" and {len(config.blocks)} stages of blocks, each twice as wide as the one before"
    require_memory(
        BYTES * weights, f"A training of the {config.model} with {sizes}", " or ".join(keys)
    )


def of_resnet(config: Config) -> int:
    """The weights of the convolutions inside a ResNet's blocks, without the first of each stage."""
    total = 0
    for stage, blocks in enumerate(config.blocks):
        total += (2 * blocks - 1) * 9 * (config.width * 2**stage) ** 2
        if total > ENOUGH:
            break
    return total
