"""The version of the files' format."""

from repdyn_keras.errors import InputError

SCHEMA_VERSION = 1


def check_schema(version: object, path) -> None:
    """Raises InputError unless files of this version can be read."""
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has format version {version!r}. Expected {SCHEMA_VERSION}: "
            "read it with the version of repdyn-keras that wrote it."
        )
