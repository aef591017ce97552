"""The split of a data set that comes without one."""

from collections.abc import Sequence

import numpy as np

from repdyn_keras.errors import InputError


def stratified_split(
    labels: np.ndarray, share: float, seed: int, names: Sequence[str], where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the test images, seeded, with the classes in their shares.

    Args:
        labels: (n,) integers.
        share: share of the test images.
        seed: seed of the split.
        names: names of the classes.
        where: what is split, for the error.

    Raises:
        InputError: there are too few images of a class, or for the share.
    """
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(labels)),
            test_size=share,
            random_state=seed % 2**32,
            stratify=labels,
        )
    except ValueError:
        counts = np.bincount(labels, minlength=len(names))
        few = int(counts.argmin())
        raise InputError(
            f"{where}: {len(labels)} images of {len(names)} classes cannot be split with "
            f"test_share = {share:g}; {names[few]!r} has {counts[few]}. Expected at least 2 images "
            "of each class, and one of each for training and for testing."
        ) from None
    return train, test
