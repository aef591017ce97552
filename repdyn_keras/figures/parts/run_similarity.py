"""Text for similarities between runs, and the floors that belong to them."""

from dataclasses import dataclass

from repdyn_keras.errors import unknown


@dataclass(frozen=True)
class RunSimilarity:
    """The text for a similarity between runs.

    Attributes:
        name: short.
        heading: what a title calls it.
        scale: label of the colour bar.
        where: what it is computed on.
        floors: variables of its floors in a comparison, `{kind}` being `_layers`, `_epochs` or
            nothing.
        undefined: why a value may be NaN.
    """

    name: str
    heading: str
    scale: str
    where: str
    floors: tuple[str, ...]
    undefined: str = "dead layer"


NO_MAP = "dead layer, or an output without class scores"
SIMILARITIES = {
    "cka": RunSimilarity(
        "CKA",
        "Similarity",
        "CKA of two runs (1 = same\nrepresentation, 0 = unrelated)",
        "on the same images",
        ("cka{kind}_null", "cka{kind}_null_class"),
    ),
    "region_agreement": RunSimilarity(
        "agreement of decision regions",
        "Agreement of decision regions",
        "share of plane points with the same\nclass in two runs (1 = same regions)",
        "on the same planes",
        ("region_chance{kind}",),
        NO_MAP,
    ),
    "region_kappa": RunSimilarity(
        "Cohen's kappa of decision regions",
        "Agreement of decision regions beyond chance",
        "Cohen's kappa of the regions of two\nruns (1 = same regions, 0 = chance)",
        "on the same planes",
        (),
        NO_MAP,
    ),
}


def run_similarity(measure: str) -> RunSimilarity:
    """The text for a measure; InputError for an unknown one."""
    if measure not in SIMILARITIES:
        raise unknown("similarity between runs", measure, SIMILARITIES)
    return SIMILARITIES[measure]
