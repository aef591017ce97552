"""The table of all configuration keys, as `repdyn run --keys` shows it."""

from repdyn_keras.config.keys import KEYS
from repdyn_keras.config.registry import DATASETS, NETWORKS, OPTIMIZERS, Registry


def users_of(name: str) -> list[str]:
    """The forms of the data sets, networks and optimizers that use a key; empty if all do."""
    if name in ("backend", DATASETS.key, NETWORKS.key, OPTIMIZERS.key):
        return []
    entries = (*DATASETS.values(), *NETWORKS.values(), *OPTIMIZERS.values())
    return [entry.form for entry in entries if name in entry.keys]


def describe_keys() -> list[tuple[str, str, str]]:
    """Name, default and meaning of every key.

    A default of None is replaced by its origin, in parentheses.
    """
    rows = []
    for name, spec in KEYS.items():
        default = f"({spec.metadata['unset']})" if spec.default is None else spec.default
        meaning, choices = spec.metadata["help"], spec.metadata["choices"]
        if isinstance(choices, Registry):
            entries = (f"{entry.form} ({entry.help})" for entry in choices.values())
            meaning = f"{meaning}: {', '.join(entries)}"
        elif choices:
            meaning = f"{meaning}: {', '.join(choices)}"
        if users := users_of(name):
            meaning = f"{meaning} (for {', '.join(users)})"
        rows.append((name, str(default), meaning))
    return rows
