"""Options that several commands share, and the configuration keys that they set."""

import os
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from repdyn_keras.backends import BACKENDS
from repdyn_keras.config import DATASETS, NETWORKS, OPTIMIZERS
from repdyn_keras.config.registry import one_of

Run = typer.Argument(metavar="RUN", help="Folder of a run.")
Backend = Annotated[
    str | None,
    typer.Option(help=f"{one_of(BACKENDS)}; default: the environment variable KERAS_BACKEND."),
]
Dataset = Annotated[str | None, typer.Option(help=f"{DATASETS.forms()}.")]
Model = Annotated[str | None, typer.Option(help=f"{NETWORKS.forms()}.")]
Optimizer = Annotated[str | None, typer.Option(help=f"{OPTIMIZERS.forms()}.")]
DataDir = Annotated[
    str | None, typer.Option(metavar="DIR", help="Folder of prepared TFDS data sets.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Download a TFDS data set that is not on disk.")
]
LabelNoise = Annotated[
    str | None,
    typer.Option(metavar="SHARE", help="Share of the training labels replaced by wrong ones."),
]
Seed = Annotated[str | None, typer.Option(metavar="N", help="Seed of the run.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Any key of the configuration; can be repeated."
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only the folder of the run.")]


def collect(
    from_file: Mapping[str, Any], options: Mapping[str, str | None], pairs: Sequence[str]
) -> dict[str, Any]:
    """The configuration keys of a run.

    Options override --set, --set overrides the file, and the file overrides KERAS_BACKEND.

    Args:
        from_file: keys of a configuration file.
        options: values of the options by key; None for options that were not given.
        pairs: the "key=value" arguments of --set.

    Raises:
        InputError: a key is unknown, a value is invalid, or the file names code to run that the
            command line does not name.
    """
    from repdyn_keras.config import check_paths, parse_pairs, parse_value, with_trust

    given = parse_pairs(pairs)
    for name, value in options.items():
        if value is not None:
            given[name] = parse_value(name, value)
    values = with_trust(dict(from_file), given)
    check_paths(values)
    if "backend" not in values and os.environ.get("KERAS_BACKEND"):
        values["backend"] = os.environ["KERAS_BACKEND"]
    return values
