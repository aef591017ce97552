"""Where a new run goes."""

import re
from pathlib import Path

from repdyn_keras.config import Config
from repdyn_keras.config.keys import SAVED
from repdyn_keras.errors import InputError


def choose_folder(name: str, out: str | Path | None) -> Path:
    """The folder of a new run: `out`, or runs/<name>, with -2, -3, ... when taken.

    Raises:
        InputError: `out` exists.
    """
    if out is not None:
        path = Path(out).expanduser()
        if path.exists():
            raise InputError(
                f"{path} exists. Expected a new folder, so that nothing is overwritten: choose "
                "another --out."
            )
        return path
    base = Path("runs") / name
    path, number = base, 1
    while path.exists():
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def run_name(config: Config) -> str:
    """What a run is, as the name of a folder."""
    kind, _, rest = config.dataset.partition(":")
    dataset = kind
    if kind == "npz":
        dataset = Path(rest).stem or kind
    elif kind == "folder":
        dataset = Path(rest).expanduser().resolve().name or kind
    elif kind == "tfds":
        dataset = plain(rest)
    model = Path(config.model).stem if config.model.endswith(SAVED) else plain(config.model)
    return f"{dataset}-{model}-{config.optimizer}-s{config.seed}"


def plain(text: str) -> str:
    """Text without what a file name should not hold."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")


def make_folder(path: Path) -> None:
    """Creates a run's folder; raises InputError where that cannot be."""
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"Cannot create the folder {path}: {error.strerror}. Expected a new folder in "
            "a place that can be written to: --out DIR."
        ) from None
