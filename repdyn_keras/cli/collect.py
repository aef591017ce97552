"""A run's keys as the user set them, by order of precedence."""

import os

from repdyn_keras.errors import InputError


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
    from repdyn_keras.config import parse_value

    values: dict = {}
    if os.environ.get("KERAS_BACKEND"):
        values["backend"] = os.environ["KERAS_BACKEND"]
    values |= from_file
    set_here = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair!r} came. Expected --set key=value, such as width=16.")
        set_here[name.strip()] = parse_value(name.strip(), text)
    for name, text in named.items():
        if text is not None:
            set_here[name] = parse_value(name, text)
    values |= set_here
    # A folder from a stranger runs no code.
    if ":" in values.get("model", "") and "model" not in set_here:
        raise InputError(
            f"The configuration names code to run, model = {values['model']!r}. Expected it on the "
            f"command line as well: --model {values['model']}, if you trust it."
        )
    return values
