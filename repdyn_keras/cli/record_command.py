"""`repdyn record`: a run folder from saved weights."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.cli import options


def record(
    checkpoints: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINTS",
            help="Folder of .weights.h5 or .keras files, one per epoch, with the epoch's number in "
            "the name.",
        ),
    ],
    model: options.Model = None,
    dataset: options.Dataset = None,
    like: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Run whose configuration and images to use."),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="New folder; default runs/NAME-recorded."),
    ] = None,
    backend: options.Backend = None,
    label_noise: options.LabelNoise = None,
    seed: options.Seed = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    set_: options.Set = None,
    quiet: options.Quiet = False,
) -> None:
    """Record the saved checkpoints of a training as if the callback had been attached.

    A .keras file contains its network; .weights.h5 files need --model or --like.
    """
    from repdyn_keras.cli.printing import ReplayPrinter, print_results
    from repdyn_keras.config import Config, usable_path
    from repdyn_keras.experiment import Watcher, record
    from repdyn_keras.experiment.record import configuration_of

    given = {
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
    values = options.collect(from_file, given, set_ or [])
    # Reports errors in the configuration before errors in the checkpoints.
    Config(**values)
    watcher = Watcher() if quiet else ReplayPrinter()
    recorded = record(checkpoints, values, like=like, out=out, watcher=watcher)
    if quiet:
        print(recorded.folder.path)
    else:
        print_results(recorded)
