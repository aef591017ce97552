"""TFDS data sets that lie prepared on disk, found by their files alone."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from repdyn_keras.config import usable_path
from repdyn_keras.errors import InputError

INFO_FILE, FEATURES_FILE = "dataset_info.json", "features.json"
# TFDS's own, and with fewer numbers in a version. Of a config, dots alone would be a folder above.
NAME = re.compile(
    r"(?P<name>[a-zA-Z]\w*)(/(?P<config>(?!\.+(:|$))[\w+.-]+))?"
    r"(:(?P<version>[\d*]+(\.[\d*]+){0,2}))?"
)
VERSION = re.compile(r"\d+\.\d+\.\d+")
NAMED = 8


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its name, its config or None, its version and its folder."""

    name: str
    config: str | None
    version: str
    path: Path

    def __str__(self) -> str:
        config = f"/{self.config}" if self.config else ""
        return f"{self.name}{config}:{self.version}"

    @property
    def order(self) -> tuple[int, ...]:
        """By which versions compare."""
        return tuple(map(int, self.version.split(".")))


def default_data_dir() -> Path:
    """The folder that TFDS prepares data sets in: TFDS_DATA_DIR, else one at home."""
    return usable_path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def parse_name(text: str) -> tuple[str, str | None, str | None]:
    """Name, config and version of NAME, NAME/CONFIG, NAME:VERSION or NAME/CONFIG:VERSION.

    Raises:
        InputError: it has none of these forms.
    """
    match = NAME.fullmatch(text)
    if match is None:
        raise InputError(
            f"tfds:{text} is no name of a TFDS data set. Expected tfds:NAME, tfds:NAME/CONFIG or "
            "either with :VERSION, such as tfds:mnist:3.0.1."
        )
    return match["name"], match["config"], match["version"]


def list_prepared(data_dir: Path) -> list[Prepared]:
    """Every data set in a folder, sorted by name, config and version."""
    found = []
    for info in [*data_dir.glob(f"*/*/{INFO_FILE}"), *data_dir.glob(f"*/*/*/{INFO_FILE}")]:
        name, *config, version = info.parent.relative_to(data_dir).parts
        if VERSION.fullmatch(version):
            found.append(Prepared(name, config[0] if config else None, version, info.parent))
    return sorted(found, key=lambda one: (one.name, one.config or "", one.order))


def find_prepared(text: str, data_dir: Path) -> Prepared | None:
    """The newest prepared version of a data set; None where it is not on disk.

    Args:
        text: as `parse_name` takes it; a version may hold `*`.
        data_dir: where prepared data sets lie.

    Raises:
        InputError: no name, or one of several configs is to be chosen.
    """
    name, config, version = parse_name(text)
    parts = [re.escape(part).replace(r"\*", r"\d+") for part in (version or "*").split(".")]
    pattern = re.compile(r"\.".join(parts) + r"(\.\d+)*")
    fits = [
        one
        for one in list_prepared(data_dir)
        if one.name == name
        and (config is None or one.config == config)
        and pattern.fullmatch(one.version)
    ]
    configs = sorted({one.config or "" for one in fits})
    if len(configs) > 1:
        if "" in configs:
            fits = [one for one in fits if one.config is None]
        else:
            named = ", ".join(f"tfds:{name}/{one}" for one in configs[:NAMED])
            raise InputError(
                f"tfds:{text} lies in {data_dir} in {len(configs)} configs. Expected one: {named}."
            )
    return max(fits, key=lambda one: one.order, default=None)


def missing(text: str, data_dir: Path) -> InputError:
    """The error for a data set that is not on disk."""
    others = [str(one) for one in list_prepared(data_dir)]
    lies = ", ".join(others[:NAMED]) or "no data set"
    more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
    return InputError(
        f"tfds:{text} is not on disk: looked in {data_dir}, which holds {lies}{more}. Expected it "
        "there (--data-dir names another folder), or --download to download and prepare it."
    )
