"""The similarities on request that a configuration may name."""

from repdyn_keras.errors import unknown

# Those of this package alone: `run.toml` has to be readable where no other measure is registered.
ON_REQUEST = ("rsa", "mutual_knn", "procrustes", "svcca", "pwcca")


def check_measures(text: str) -> str | None:
    """The names in a text that commas separate, without spaces and repetitions; None for none.

    Raises:
        InputError: there is no such similarity.

    Example:
        >>> check_measures("rsa, svcca,")
        'rsa,svcca'
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ON_REQUEST:
            raise unknown("measure", name, ON_REQUEST, "It is one of the names in measures.")
    return ",".join(dict.fromkeys(names)) or None
