"""What a run was made with."""

import sys
from importlib import metadata

PACKAGES = ("repdyn-keras", "keras", "numpy", "jax", "tensorflow", "torch")


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that decide a run's numbers."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
