"""`repdyn layers`: the layers of a network that can be recorded."""

from typing import Annotated

import typer

from repdyn_keras.cli import options
from repdyn_keras.config import NETWORKS

# Sides of the images, in patches, where the configuration gives none.
PATCHES = 8


def layers(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{NETWORKS.forms()}.")],
    backend: options.Backend = None,
    output: Annotated[
        str | None, typer.Option(help="Output to record, of a network with several.")
    ] = None,
    set_: options.Set = None,
) -> None:
    """List the layers of a network that can be recorded."""
    from repdyn_keras.backends import use_backend
    from repdyn_keras.cli.printing import print_layers
    from repdyn_keras.config import Config, resolve

    given = {"model": model, "backend": backend or None, "output": output}
    config = resolve(Config(**options.collect({}, given, set_ or [])))
    use_backend(config.backend)
    from repdyn_keras.models import build_model, recorded_layers
    from repdyn_keras.recording.graph import check_model
    from repdyn_keras.recording.layers import choose_layers, find_head, recordable_layers

    side = config.image_size or (config.patch or 1) * PATCHES
    network = build_model(config, (side, side, 3), 10)
    check_model(network)
    head = find_head(network, config.output)
    chosen, _ = choose_layers(network, recorded_layers(config), head)
    print_layers(network, recordable_layers(network, head), set(chosen), head.tensor)
