"""A run's keys as the user set them, by order of precedence."""

import os

from repdyn_keras.errors import InputError
from repdyn_keras.text import quoted


def collect(from_file: dict, named: dict, pairs: list[str]) -> dict:
    """The keys of a run: options win over --set, over the file, over KERAS_BACKEND.

    Args:
        from_file: keys of a configuration file.
        named: text of options by key, None where they were not given.
        pairs: "key=value" of --set.

    Raises:
        InputError: an unknown key or a bad value; or the file names code to run, and the command
            line does not.
    """
    from repdyn_keras.config import check_paths, parse_value, with_trust

    given: dict = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(
                f"--set {quoted(pair)} came. Expected --set key=value, such as width=16."
            )
        given[name.strip()] = parse_value(name.strip(), text)
    for name, text in named.items():
        if text is not None:
            given[name] = parse_value(name, text)
    values = with_trust(from_file, given)
    check_paths(values)
    if "backend" not in values and os.environ.get("KERAS_BACKEND"):
        values["backend"] = os.environ["KERAS_BACKEND"]
    return values
