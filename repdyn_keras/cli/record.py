"""`repdyn record`: a run folder from saved weights."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    checkpoints: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINTS",
            help="Folder of .weights.h5 or .keras files, one an epoch, its number in their names.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="FILE.keras, module:function, resnet or vit; .keras files bring theirs."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="digits, synthetic, npz:FILE, folder:PATH or tfds:NAME."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Run whose configuration and images to record by."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="New folder; default runs/<name>-recorded.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="jax, tensorflow or torch (or set KERAS_BACKEND).")
    ] = None,
    label_noise: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Share of wrong training labels.")
    ] = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Seed of the training.")] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of prepared TFDS data sets.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download a TFDS data set that is not on disk.")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key; repeatable.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the folder, nothing else.")] = False,
) -> None:
    """Record the saved weights of a training that is over, as if the callback had been there."""
    from repdyn_keras.cli.collect import collect
    from repdyn_keras.cli.tables import ReplayPrinter, print_results
    from repdyn_keras.config import Config, usable_path
    from repdyn_keras.experiment import Watcher, record
    from repdyn_keras.experiment.record import configuration_of

    named = {
        "model": model,
        "dataset": dataset,
        "backend": backend,
        "label_noise": label_noise,
        "seed": seed,
        "data_dir": data_dir,
        "download": "true" if download else None,
    }
    for path in (checkpoints, like, out):
        if path is not None:
            usable_path(path)
    from_file = {} if like is None else configuration_of(like)
    values = collect(from_file, named, set_ or [])
    # What is wrong with the settings is said before what is wrong with the checkpoints.
    Config(**values)
    watcher = Watcher() if quiet else ReplayPrinter()
    recorded = record(checkpoints, values, like=like, out=out, watcher=watcher)
    if quiet:
        print(recorded.folder.path)
    else:
        print_results(recorded)
