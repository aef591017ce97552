"""How suspicious a given label is, from the predictions of probes and output at all records.

Early in a training, and for long in lower layers, probes and output predict the class of most
images like the one at hand. They predict the given label of a wrongly labelled image only once it
is memorized. Every layer therefore has a vote on the class of each image at every record: that of
its probe, or of the output. `benchmarks/bench_wrong_labels.py` measures how well that finds wrong
labels.
"""

import numpy as np

from repdyn_keras.measures.map_agreement import undefined_class


def record_weights(epochs: np.ndarray) -> np.ndarray:
    """(epoch,) weight of each record: the octaves of 1 + epoch that it stands for; their sum is 1.

    Weights by epochs would leave the vote to the last records, which have memorized everything.

    Args:
        epochs: (epoch,) ascending.
    """
    if len(epochs) < 2:
        return np.ones(len(epochs))
    u = np.log2(1 + np.asarray(epochs, np.float64))
    reach = np.diff(u, prepend=u[0]) + np.diff(u, append=u[-1])
    return reach / reach.sum()


def add_votes(votes: np.ndarray, classes: np.ndarray, weights: np.ndarray | float) -> None:
    """Adds the votes of one record, in place. Undefined classes have none.

    Args:
        votes: (image, class) sums of weights.
        classes: (layer, image) classes that probes and the output predict.
        weights: of the record, for all images or for each.
    """
    undefined = undefined_class(classes.dtype)
    shares = np.broadcast_to(np.asarray(weights) / len(classes), classes.shape[1:])
    rows = np.arange(classes.shape[1])
    for of_layer in classes:
        defined = (of_layer != undefined) & (of_layer < votes.shape[1])
        votes[rows[defined], of_layer[defined]] += shares[defined]


def rivals(votes: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class other than the given label with the most votes, and their weight.

    Args:
        votes: (image, class) sums of weights.
        given: (image,) given labels.

    Returns:
        (image,) classes, -1 where no other class has a vote; and (image,) sums of weights.
    """
    rows = np.arange(len(votes))
    own = votes[rows, given]
    votes[rows, given] = -1
    strongest = votes.argmax(axis=1)
    votes[rows, given] = own
    strength = np.where(strongest == given, 0.0, votes[rows, strongest])
    return np.where(strength > 0, strongest, -1), strength


def suspicion(votes: np.ndarray, given: np.ndarray) -> np.ndarray:
    """How suspicious each given label is: the share of votes for its rival minus its own.

    1 if everything always predicted one other class, -1 if everything always predicted the given
    label, and above 0 where another class has more votes than the given label.

    Args:
        votes: (image, class) sums of weights.
        given: (image,) given labels.

    Returns:
        (image,) float64, NaN without votes.
    """
    total = votes.sum(axis=1)
    against = rivals(votes, given)[1] - votes[np.arange(len(votes)), given]
    return np.divide(against, total, out=np.full(len(votes), np.nan), where=total > 0)
