"""`repdyn run` and `record`: create a run folder from a training or from saved weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from repdyn_keras.cli import options
from repdyn_keras.errors import InputError


def run(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[CONFIG.toml|RUN]",
            help="Configuration file, such as the run.toml of a run; with --resume, the folder of "
            "a run.",
        ),
    ] = None,
    backend: options.Backend = None,
    model: options.Model = None,
    optimizer: options.Optimizer = None,
    dataset: options.Dataset = None,
    data_dir: options.DataDir = None,
    download: options.Download = False,
    epochs: Annotated[
        str | None, typer.Option(metavar="N", help="Number of training epochs.")
    ] = None,
    label_noise: options.LabelNoise = None,
    seed: options.Seed = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder to create; default: runs/DATASET-MODEL-OPTIMIZER-sSEED."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in RUN or --out from its last checkpoint; --epochs may be "
            "increased.",
        ),
    ] = False,
    set_: options.Set = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print epochs, time and disk space; write nothing."),
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="List every key with its default and its meaning.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a network, record its layers, analyze the records and show them on a page.

    Precedence: options, --set, configuration file, KERAS_BACKEND, defaults.
    """
    if keys:
        from repdyn_keras.cli.printing import print_keys

        print_keys()
        return
    given = {
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
    from repdyn_keras.config import Config, usable_path
    from repdyn_keras.experiment import Watcher, run

    for path in (source, out):
        if path is not None:
            usable_path(path)
    out = run_folder(source, out, resume)
    stored = stored_values(source, out if resume else None)
    config = Config(**options.collect(stored, given, set_ or []))
    if dry_run:
        from repdyn_keras.cli.printing import PlanPrinter

        run(config, out=out, watcher=PlanPrinter(), dry_run=True, resume=resume)
        return
    if quiet:
        print(run(config, out=out, watcher=Watcher(), resume=resume).folder.path)
        return
    from repdyn_keras.cli.results import print_results
    from repdyn_keras.experiment.live_progress import LiveProgress

    with LiveProgress() as progress:
        finished = run(config, out=out, watcher=progress, resume=resume)
    print_results(finished, progress.seconds)


def run_folder(source: str | None, out: str | None, resume: bool) -> str | None:
    """The folder to create or to resume; None leaves the choice to `run`.

    Raises:
        InputError: a folder was given without --resume, or --resume without exactly one folder.
    """
    folder = source if source is not None and Path(source).is_dir() else None
    if not resume:
        if folder is not None:
            raise InputError(
                f"Expected a TOML file, such as {Path(folder) / 'run.toml'}, to repeat the run; or "
                f"--resume, to continue it. Received: the folder {folder}."
            )
        return out
    if folder is not None and out is not None:
        raise InputError(f"Expected one folder with --resume. Received: {folder} and --out {out}.")
    if folder is None and out is None:
        received = "nothing" if source is None else f"{source}, which is not a folder"
        raise InputError(
            "Expected the folder of the run to resume: repdyn run RUN --resume, or --out RUN. "
            f"Received: {received}."
        )
    return folder or out


def stored_values(source: str | None, resumed: str | None) -> dict[str, Any]:
    """Configuration keys from files, which the options override.

    Args:
        source: a configuration file or a run folder; None for neither.
        resumed: the folder of the run that is resumed; None for a new run.
    """
    from repdyn_keras.config import load_config
    from repdyn_keras.records import RunFolder

    is_file = source is not None and not Path(source).is_dir()
    from_file = load_config(source) if source is not None and is_file else {}
    stored = {} if resumed is None else RunFolder(resumed).config()
    return {**stored, **from_file}


def record(
    checkpoints: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINTS",
            help="Folder of .weights.h5, .keras or .h5 files, one per epoch, with the epoch's "
            "number in the name.",
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
        typer.Option(metavar="DIR", help="New folder; default: runs/NAME-recorded."),
    ] = None,
    epoch_pattern: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="Where the epoch is in the names, such as 'model-{epoch}-*.keras'; {epoch+1} if "
            "the names count from 0.",
        ),
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

    A .keras file contains its network; other files of weights need --model or --like.
    """
    from repdyn_keras.cli.printing import ReplayPrinter
    from repdyn_keras.cli.results import print_results
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
    recorded = record(
        checkpoints, values, like=like, out=out, epoch_pattern=epoch_pattern, watcher=watcher
    )
    if quiet:
        print(recorded.folder.path)
    else:
        print_results(recorded)
