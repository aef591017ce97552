"""What the history of an image amounts to: when it was learned, how surely, and how deep.

Records are not equally spaced: on the default schedule they are six to an octave of epochs. All
averages are therefore over epochs, by the trapezoidal rule, so that each record counts for the
epochs around it, and late records for many. Events between records are not seen.
"""

import numpy as np


def average(epochs: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Average of values over epochs, by the trapezoidal rule.

    Args:
        epochs: (epoch,) ascending.
        values: (image, epoch).

    Returns:
        (image,) float64; of one record its value; NaN where a value is NaN.
    """
    values = np.asarray(values, np.float64)
    if len(epochs) < 2:
        return values.mean(axis=1)
    return np.trapezoid(values, epochs, axis=1) / (epochs[-1] - epochs[0])


def area_under_margin(epochs: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Average margin over all epochs; low or negative values suggest a wrong label.

    The paper averages the margin over epochs of training, each as computed in training mode. Here
    it is the margin in inference mode, of records.

    Source: Pleiss et al. 2020 (arXiv 2001.10528, eq. 2).

    Args:
        epochs: (epoch,) ascending.
        margin: (image, epoch).

    Returns:
        (image,) in units of a logit; NaN where a margin is NaN.
    """
    return average(epochs, margin)


def mean_and_deviation(
    epochs: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence and variability: mean and deviation over epochs of the label's probability.

    Source: Swayamdipta et al. 2020 (arXiv 2009.10795, section 2), whose means are over equally
    spaced epochs.

    Args:
        epochs: (epoch,) ascending.
        probability: (image, epoch) probability of the given label.

    Returns:
        Two arrays (image,), between 0 and 1; NaN where a probability is NaN.
    """
    probability = np.asarray(probability, np.float64)
    mean = average(epochs, probability)
    return mean, np.sqrt(average(epochs, (probability - mean[:, None]) ** 2))


def correctness(epochs: np.ndarray, is_given: np.ndarray) -> np.ndarray:
    """Share of the epochs at which the given label is predicted.

    Source: Swayamdipta et al. 2020 (arXiv 2009.10795, section 2).

    Args:
        epochs: (epoch,) ascending.
        is_given: (image, epoch) 1 where the given label is predicted, 0 where not, or NaN.

    Returns:
        (image,) between 0 and 1; NaN where an entry is NaN.
    """
    return average(epochs, is_given)


def first_learned(epochs: np.ndarray, is_given: np.ndarray) -> np.ndarray:
    """First recorded epoch at which the given label is predicted; NaN if it never is.

    An untrained network predicts it by chance.

    Source: Toneva et al. 2019 (arXiv 1812.05159, section 3), the first learning event.

    Args:
        epochs: (epoch,) ascending.
        is_given: (image, epoch) 1 where the given label is predicted, 0 where not, or NaN.
    """
    hits = is_given == 1
    return np.where(hits.any(axis=1), epochs[hits.argmax(axis=1)], np.nan)


def learned(epochs: np.ndarray, is_given: np.ndarray) -> np.ndarray:
    """First recorded epoch from which on the given label is predicted to the end, or NaN.

    Of a wrong label, it is the epoch of memorization.

    Args:
        epochs: (epoch,) ascending.
        is_given: (image, epoch) 1 where the given label is predicted, 0 where not, or NaN.
    """
    misses = is_given != 1
    # Number of the record after the last one without the given label.
    start = np.where(misses.any(axis=1), len(epochs) - misses[:, ::-1].argmax(axis=1), 0)
    return np.where(start < len(epochs), np.append(epochs, np.nan)[start], np.nan)


def forgetting_events(is_given: np.ndarray) -> np.ndarray:
    """How many times the given label was predicted at a record and not at the next.

    An image that is forgotten and learned again between two records is not counted, so that the
    number is a lower bound, and a lower one for late epochs. An image that is never learned has 0.

    Source: Toneva et al. 2019 (arXiv 1812.05159, section 3).

    Args:
        is_given: (image, epoch) 1 where the given label is predicted, 0 where not, or NaN.

    Returns:
        (image,) integers.
    """
    return ((is_given[:, :-1] == 1) & (is_given[:, 1:] == 0)).sum(axis=1)


def prediction_depth(classes: np.ndarray) -> np.ndarray:
    """First layer from which on the probes of all layers predict the class of the output.

    0 is the first recorded layer; the number of hidden layers means that the last probe differs
    from the output.

    Source: Baldock et al. 2021 (arXiv 2106.09647, section 2), here with linear probes, fitted on
    the same images, instead of nearest neighbours, and for the class of the output at the same
    epoch.

    Args:
        classes: (layer, image) predicted classes, with the output as the last layer. The maximum
            of the dtype means undefined, and agrees with nothing.

    Returns:
        (image,) smallest unsigned dtype for the number of layers; its maximum where the output is
        undefined.
    """
    undefined = np.iinfo(classes.dtype).max
    hidden = len(classes) - 1
    differs = (classes[:-1] != classes[-1]) | (classes[:-1] == undefined)
    places = np.arange(1, hidden + 1)[:, None]
    depth = np.max(np.where(differs, places, 0), axis=0, initial=0)
    dtype = np.min_scalar_type(hidden + 1)
    return np.where(classes[-1] == undefined, np.iinfo(dtype).max, depth).astype(dtype)
