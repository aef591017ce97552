"""TFDS data sets that are prepared on disk, found by their files alone."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from repdyn_keras.config import usable_path
from repdyn_keras.errors import InputError
from repdyn_keras.text import format_names, quoted

INFO_FILE = "dataset_info.json"
# TFDS's own grammar, and versions of fewer numbers. A config of dots would be a parent folder.
NAME = re.compile(
    r"(?P<name>[a-zA-Z]\w*)(/(?P<config>(?!\.+(:|$))[\w+.-]+))?"
    r"(:(?P<version>[\d*]+(\.[\d*]+){0,2}))?"
)
VERSION = re.compile(r"\d+\.\d+\.\d+")
# Names of data sets in a message.
MAX_DATASETS = 8


@dataclass(frozen=True)
class Prepared:
    """A prepared data set.

    Attributes:
        name: its name.
        config: its config, or None.
        version: its version.
        path: its folder.
    """

    name: str
    config: str | None
    version: str
    path: Path

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.name}{config}:{self.version}"

    @property
    def version_numbers(self) -> tuple[int, ...]:
        """The version for comparisons."""
        return tuple(map(int, self.version.split(".")))


def default_data_dir() -> Path:
    """The folder of TFDS: the environment variable TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return usable_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def parse_name(text: str) -> tuple[str, str | None, str | None]:
    """Name, config and version of NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.

    Raises:
        InputError: it has none of these forms.
    """
    match = NAME.fullmatch(text)
    if match is None:
        raise InputError(
            "Not the name of a TFDS data set. Expected tfds:NAME, tfds:NAME/CONFIG or either with "
            f":VERSION, such as tfds:mnist:3.0.1. Received: {quoted(f'tfds:{text}')}."
        )
    return match["name"], match["config"], match["version"]


def list_prepared(data_dir: Path) -> list[Prepared]:
    """Every data set in a folder, sorted by name, config and version."""
    prepared = []
    for info in [*data_dir.glob(f"*/*/{INFO_FILE}"), *data_dir.glob(f"*/*/*/{INFO_FILE}")]:
        name, *config, version = info.parent.relative_to(data_dir).parts
        if VERSION.fullmatch(version):
            prepared.append(Prepared(name, config[0] if config else None, version, info.parent))
    return sorted(prepared, key=lambda one: (one.name, one.config or "", one.version_numbers))


def find_prepared(text: str, data_dir: Path) -> Prepared | None:
    """The newest prepared version of a data set; None where it is not on disk.

    Args:
        text: as for `parse_name`; a version may contain `*`.
        data_dir: folder of prepared data sets.

    Raises:
        InputError: the name is invalid, or must name one of several configs.
    """
    name, config, version = parse_name(text)
    parts = [re.escape(part).replace(r"\*", r"\d+") for part in (version or "*").split(".")]
    pattern = re.compile(r"\.".join(parts) + r"(\.\d+)*")
    matching = [
        one
        for one in list_prepared(data_dir)
        if one.name == name
        and (config is None or one.config == config)
        and pattern.fullmatch(one.version)
    ]
    configs = sorted({one.config or "" for one in matching})
    if len(configs) > 1:
        if "" not in configs:
            named = format_names((f"tfds:{name}/{one}" for one in configs), MAX_DATASETS)
            raise InputError(
                f"{data_dir} holds tfds:{text} in {len(configs)} configs. Expected one of them: "
                f"{named}. Received: tfds:{text}."
            )
        matching = [one for one in matching if one.config is None]
    return max(matching, key=lambda one: one.version_numbers, default=None)


def missing(text: str, data_dir: Path) -> InputError:
    """The error for a data set that is not on disk."""
    held = format_names(list_prepared(data_dir), MAX_DATASETS) or "no data set"
    return InputError(
        f"tfds:{text} is not on disk. Expected it in the folder of TFDS or that of --data-dir; "
        f"--download downloads and prepares it. Received: {data_dir}, which holds {held}."
    )
