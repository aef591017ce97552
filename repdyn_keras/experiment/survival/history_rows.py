"""The rows of `history.csv`."""

import csv
import io
from collections.abc import Sequence

ACCURACIES = {
    "train_accuracy": "train",
    "clean_accuracy": "clean",
    "memorized": "mislabeled_given",
    "resisted": "mislabeled_true",
    "test_accuracy": "test",
}
HISTORY = ("epoch", "loss", "accuracy", "learning_rate", *ACCURACIES)


def accuracies_of(record, subsets: Sequence[str]) -> dict[str, float]:
    """The network's accuracies in a record, by column, without NaN.

    Args:
        record: the `xarray.Dataset` of a recorded epoch.
        subsets: names of its subsets of images.
    """
    by_subset = dict(zip(subsets, record["probe_accuracy"].values[-1].tolist(), strict=True))
    return {
        column: by_subset[subset]
        for column, subset in ACCURACIES.items()
        if by_subset[subset] == by_subset[subset]
    }


def rows_of(checkpoint) -> list[dict[str, str]]:
    """The rows in the `xarray.Dataset` of a checkpoint, up to its epoch.

    The last one lacks the accuracies of its record.
    """
    text = checkpoint["history"].values.tobytes().decode("utf-8")
    return list(csv.DictReader(io.StringIO(text, newline="")))
