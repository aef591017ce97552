"""`repdyn layers`: the names that can be recorded."""

from typing import Annotated

import typer


def command(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="resnet, vit, module:function or FILE.keras."),
    ],
    backend: Annotated[str, typer.Option(help="jax, tensorflow or torch.")] = "",
    output: Annotated[
        str | None, typer.Option(help="The output that is recorded, of a network with several.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key, such as preset; repeatable."),
    ] = None,
) -> None:
    """List the layers of a network that can be recorded."""
    from repdyn_keras.backends import use_backend
    from repdyn_keras.cli.collect import collect
    from repdyn_keras.cli.tables import print_layers
    from repdyn_keras.config import Config, resolve

    named = {"model": model, "backend": backend or None, "output": output}
    config = resolve(Config(**collect({}, named, set_ or [])))
    use_backend(config.backend)
    from repdyn_keras.models import build_model, recorded_layers
    from repdyn_keras.recording.graph import check_model
    from repdyn_keras.recording.heads import find_head
    from repdyn_keras.recording.layers import choose_layers, recordable_layers

    side = config.image_size or (config.patch or 1) * 8
    network = build_model(config, (side, side, 3), 10)
    check_model(network)
    head = find_head(network, config.output)
    chosen, _ = choose_layers(network, recorded_layers(config), head)
    print_layers(network, recordable_layers(network, head), set(chosen), head.tensor)
