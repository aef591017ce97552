"""`repdyn run`: one training, recorded, analyzed and drawn."""

from pathlib import Path
from typing import Annotated

import typer

from repdyn_keras.errors import InputError

DATASET_HELP = "digits, synthetic, npz:FILE, folder:PATH (class folders) or tfds:NAME."


def command(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG.toml|RUN]",
            help="Configuration, such as a run's run.toml; with --resume the folder of a run.",
        ),
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
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in RUN or --out from its last checkpoint; --epochs may grow.",
        ),
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
    from repdyn_keras.config import Config, usable_path
    from repdyn_keras.experiment import run

    for path in (source, out):
        if path is not None:
            usable_path(path)
    out = folder_of(source, out, resume)
    config = Config(**collect(configuration(source, out, resume), named, set_ or []))
    if dry_run:
        from repdyn_keras.cli.tables import PlanPrinter

        run(config, out=out, watcher=PlanPrinter(), dry_run=True, resume=resume)
        return
    if quiet:
        print(run(config, out=out, resume=resume).folder.path)
        return
    from repdyn_keras.cli.live import LiveProgress
    from repdyn_keras.cli.tables import print_results

    with LiveProgress() as progress:
        finished = run(config, out=out, watcher=progress, resume=resume)
    print_results(finished, progress.seconds)


def folder_of(source: str | None, out: str | None, resume: bool) -> str | None:
    """The folder that a run goes to, or goes on in; None lets `run` choose.

    Raises:
        InputError: a folder came without --resume, or --resume without one.
    """
    is_folder = source is not None and Path(source).is_dir()
    if is_folder and not resume:
        raise InputError(
            f"{source} is a folder. Expected a TOML file, such as {Path(source) / 'run.toml'}, "
            "which repeats that run; or --resume, which goes on with it."
        )
    if not resume:
        return out
    if is_folder and out is not None:
        raise InputError(f"{source} and --out {out} came with --resume. Expected one folder.")
    if not is_folder and out is None:
        missing = "nothing" if source is None else f"{source}, which is no folder"
        raise InputError(
            f"--resume came with {missing}. Expected the folder of a run: repdyn run RUN --resume, "
            "or --out RUN."
        )
    return source if is_folder else out


def configuration(source: str | None, out: str | None, resume: bool) -> dict:
    """The keys that the options are laid over: of the run that goes on, or of a file."""
    from repdyn_keras.config import load_config
    from repdyn_keras.records import RunFolder

    is_file = source is not None and not Path(source).is_dir()
    from_file = load_config(source) if is_file else {}
    stored = RunFolder(out).config() if resume else {}
    return {**stored, **from_file}
