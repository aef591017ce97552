"""Where a new run goes."""

import os
import re
import shutil
from pathlib import Path

from repdyn_keras.config import DATASETS, NETWORKS, Config
from repdyn_keras.errors import InputError
from repdyn_keras.records import RunFolder
from repdyn_keras.records.atomic import HALF_WRITTEN, storage, sync

LONGEST_PART = 80


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
                "another --out, or go on with the run in it by --resume."
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
    data, network = DATASETS.find(config.dataset), NETWORKS.find(config.model)
    dataset = plain(data.short_name(config.dataset)) or data.name
    model = plain(network.short_name(config.model)) or "model"
    return f"{dataset}-{model}-{config.optimizer}-s{config.seed}"


def plain(text: str) -> str:
    """Text without what a file name should not hold, and no longer than a part of one may be."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")[:LONGEST_PART].strip("-.")


def begin_folder(path: Path, file_name: str, text: str) -> RunFolder:
    """Makes a run's folder with its configuration: both are there, or none.

    Raises:
        InputError: it cannot be made, or another process was quicker.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{HALF_WRITTEN}")
    try:
        with storage(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.mkdir()
            folder = RunFolder(unfinished)
            folder.write(unfinished / file_name, text.encode("utf-8"))
            os.rename(unfinished, path)
            sync(path.parent)
    except OSError as error:
        raise InputError(
            f"Cannot create the folder {path}: {error.strerror}. Expected a new folder in "
            "a place that can be written to: --out DIR."
        ) from None
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
    return RunFolder(path)


def size_of(path: Path) -> int:
    """Bytes of the files below a folder; 0 where there is none."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
