"""`repdyn run`: one training, recorded, analyzed and drawn."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import InputError

DATASET_HELP = "digits, synthetic, npz:FILE, folder:PATH (class folders) or tfds:NAME."


def command(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[CONFIG.toml]", help="Configuration, such as a run's run.toml."),
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="jax, tensorflow or torch (or set KERAS_BACKEND).")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="resnet, vit, module:function or FILE.keras.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adam.")] = None,
    dataset: Annotated[str | None, typer.Option(help=DATASET_HELP)] = None,
    data_dir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of prepared TFDS data sets.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download a TFDS data set that is not on disk.")
    ] = False,
    epochs: Annotated[str | None, typer.Option(metavar="N", help="Epochs to train.")] = None,
    label_noise: Annotated[
        str | None, typer.Option(metavar="SHARE", help="Share of wrong training labels.")
    ] = None,
    seed: Annotated[str | None, typer.Option(metavar="N", help="Seed of everything.")] = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="New folder; default runs/<what it is>.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run (not possible yet).")
    ] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any key; repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print epochs, time and disk; write nothing.")
    ] = False,
    keys: Annotated[bool, typer.Option("--keys", help="List every key with its default.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print the folder, nothing else.")] = False,
) -> None:
    """Train a network, record every layer along the way, analyze and draw.

    Options win over --set, --set over the file, the file over KERAS_BACKEND, that over defaults.
    """
    if keys:
        from repdyn_keras.cli.tables import print_keys

        print_keys()
        return
    named = {
        "backend": backend,
        "model": model,
        "optimizer": optimizer,
        "dataset": dataset,
        "data_dir": data_dir,
        "download": "true" if download else None,
        "epochs": epochs,
        "label_noise": label_noise,
        "seed": seed,
    }
    from repdyn_keras.cli.collect import collect
    from repdyn_keras.config import Config
    from repdyn_keras.experiment import run

    config = Config(**collect(configuration(source, resume), named, set_ or []))
    if dry_run:
        from repdyn_keras.cli.tables import PlanPrinter

        run(config, out=out, watcher=PlanPrinter(), dry_run=True)
        return
    if quiet:
        print(run(config, out=out).folder.path)
        return
    from repdyn_keras.cli.live import LiveProgress
    from repdyn_keras.cli.tables import print_results

    with LiveProgress() as progress:
        finished = run(config, out=out, watcher=progress)
    print_results(finished, progress.seconds)


def configuration(source: str | None, resume: bool) -> dict:
    """The keys of the configuration file, where there is one."""
    from repdyn_keras.config import load_config

    if resume:
        raise InputError(
            "--resume is not possible yet: nothing was changed. Expected a new run; "
            "`repdyn analyze RUN` works on what an interrupted one has recorded."
        )
    if source is None:
        return {}
    if Path(source).is_dir():
        raise InputError(
            f"{source} is a folder, and runs are not continued yet: nothing was changed. "
            f"Expected a TOML file; {Path(source) / 'run.toml'} repeats that run."
        )
    return load_config(source)
