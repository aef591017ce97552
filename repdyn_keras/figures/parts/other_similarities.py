"""Text for the similarities between epochs that are computed only on request."""

from typing import NamedTuple

# Variables of `dynamics.nc` that only `repdyn analyze --measure` computes begin with it.
PREFIX = "similarity_"


class OtherSimilarity(NamedTuple):
    """The text for a similarity beside CKA and those of decision regions.

    Attributes:
        name: short, as in a title.
        about: what it is.
        scale: what its values mean.
    """

    name: str
    about: str
    scale: str


OTHERS = {
    "rsa": OtherSimilarity(
        "RSA", "rank correlation of Gram entries", "1 = same order, 0 = unrelated"
    ),
    "mutual_knn": OtherSimilarity(
        "Mutual kNN", "share of nearest neighbours in common", "1 = same neighbours"
    ),
    "procrustes": OtherSimilarity(
        "Procrustes", "Procrustes similarity of features", "1 = same up to rotation and scale"
    ),
    "svcca": OtherSimilarity(
        "SVCCA", "mean canonical correlation of features", "1 = same directions"
    ),
    "pwcca": OtherSimilarity(
        "PWCCA", "weighted canonical correlation of features", "1 = same directions"
    ),
}


def variable_of(measure: str) -> str:
    """The variable of a similarity, which may be named as by `repdyn analyze --measure`.

    Example:
        >>> variable_of("rsa"), variable_of("cka")
        ('similarity_rsa', 'cka')
    """
    return f"{PREFIX}{measure}" if measure in OTHERS else measure
