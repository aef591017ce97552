"""`repdyn layers`: the names that can be recorded."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import InputError, unknown

MODELS = ("resnet", "vit")


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="resnet, vit or FILE.keras.")],
    backend: Annotated[str, typer.Option(help="jax, tensorflow or torch.")] = "",
) -> None:
    """List the layers of a network that can be recorded."""
    import os

    from repdyn_keras.cli.tables import print_layers
    from repdyn_keras.config import Config, resolve
    from repdyn_keras.experiment.run import use_backend

    backend = backend or os.environ.get("KERAS_BACKEND") or "jax"
    if model in MODELS:
        config = resolve(Config(model=model, backend=backend))
        use_backend(backend)
        from repdyn_keras.models import build_model, recorded_layers

        network = build_model(config, (8, 8, 1), 10)
        wanted = recorded_layers(config)
    elif model.endswith(".keras"):
        Config(backend=backend)
        use_backend(backend)
        network, wanted = load_network(Path(model)), None
    else:
        raise unknown("model", model, (*MODELS, "FILE.keras"))
    from repdyn_keras.recording.layers import choose_layers, recordable_layers

    chosen, _ = choose_layers(network, wanted)
    print_layers(network, recordable_layers(network), set(chosen))


def load_network(path: Path):
    """The network of a `.keras` file, loaded in safe mode."""
    import keras

    if not path.is_file():
        raise InputError(f"No file {path}. Expected a model saved by model.save('NAME.keras').")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # damaged archives raise whatever their reader raises
        raise InputError(
            f"Cannot load {path} ({type(error).__name__}). Expected a whole model saved by "
            "model.save('NAME.keras'), without custom code."
        ) from error
