"""One configured training from its data to its dynamics."""

import os
import re
import sys
from importlib import metadata
from pathlib import Path

from repdyn_keras.config import Config, load_config, resolve, to_toml
from repdyn_keras.errors import EXTRAS, InputError, not_installed
from repdyn_keras.experiment.watching import Watcher
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import write_text

PACKAGES = ("repdyn-keras", "keras", "numpy", "jax", "tensorflow", "torch")


def run(
    config: Config | dict | str | Path | None = None,
    *,
    out: str | Path | None = None,
    watcher: Watcher | None = None,
    dry_run: bool = False,
):
    """Trains one network, records it, analyzes and draws: the command `repdyn run` in Python.

    Args:
        config: a `Config`, its keys as a dict, a TOML file, or None for the defaults.
        out: folder to create; None for `runs/<dataset>-<model>-<optimizer>-s<seed>`, with `-2`,
            `-3`, ... when taken.
        watcher: is told what happens.
        dry_run: only plans; writes nothing and returns the plan.

    Returns:
        The finished run, whose `dynamics` is an `xarray.Dataset`; with `dry_run` the plan.

    Raises:
        InputError: bad configuration or data, a folder that exists, or another backend than the
            one that Keras already runs on.

    Example:
        >>> run({"epochs": 2, "planes": 3}).dynamics["cka"].sizes["epoch"]  # doctest: +SKIP
        3
    """
    watcher = watcher or Watcher()
    config = resolve(as_config(config))
    folder = RunFolder(choose_folder(config, out))
    use_backend(config.backend)
    from repdyn_keras.experiment.training import Training

    training = Training(config, folder, watcher)
    if dry_run:
        plan = training.timed_plan()
        watcher.started(folder, config, plan)
        training.say_notes()
        return plan
    try:
        folder.path.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"Cannot create the folder {folder.path}: {error.strerror}. Expected a new folder in "
            "a place that can be written to: --out DIR."
        ) from None
    write_text(folder.config_file, to_toml(config, versions()))
    watcher.started(folder, config, training.plan)
    training.say_notes()
    training.fit()

    from repdyn_keras.dynamics import analyze, open_run
    from repdyn_keras.figures import draw_all

    dynamics = analyze(folder, watcher.analyzing)
    watcher.analyzing("figures")
    draw_all(dynamics, folder.figures)
    return open_run(folder.path)


def as_config(config) -> Config:
    """A configuration given in any of the forms that `run` takes."""
    if config is None:
        return Config()
    if isinstance(config, Config):
        return config
    return Config(**(config if isinstance(config, dict) else load_config(config)))


def choose_folder(config: Config, out: str | Path | None) -> Path:
    """The folder of a new run; raises InputError where `out` exists."""
    if out is not None:
        path = Path(out).expanduser()
        if path.exists():
            raise InputError(
                f"{path} exists. Expected a new folder, so that nothing is overwritten: choose "
                "another --out."
            )
        return path
    dataset = config.dataset
    if dataset.startswith("npz:"):
        dataset = Path(dataset[4:]).stem or "npz"
    elif dataset.startswith("folder:"):
        dataset = Path(dataset[7:]).expanduser().resolve().name or "folder"
    elif dataset.startswith("tfds:"):
        dataset = re.sub(r"[^\w.]+", "-", dataset[5:])
    base = Path("runs") / f"{dataset}-{config.model}-{config.optimizer}-s{config.seed}"
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def use_backend(backend: str) -> None:
    """Makes Keras run on `backend`; raises InputError where that is not possible any more."""
    if "keras" in sys.modules:
        running = sys.modules["keras"].backend.backend()
        if running != backend:
            raise InputError(
                f"backend = {backend!r} came, but Keras already runs on {running!r} in this "
                f"process. Expected {running!r}, or KERAS_BACKEND={backend} set before the start."
            )
        return
    if not is_installed(backend):
        raise not_installed(backend, EXTRAS, f"backend = {backend!r}")
    os.environ["KERAS_BACKEND"] = backend
    if backend == "tensorflow":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def is_installed(package: str) -> bool:
    """Whether a package can be imported."""
    from importlib.util import find_spec

    return find_spec(package) is not None


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a run's numbers."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
