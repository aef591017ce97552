"""How suspicious a given label is, from what the probes and the output said at all records.

Early in a training, and in its lower layers for long, a network says what most images like this one
are. It says the given label of a wrongly labelled image only once it has memorized it. Every layer
at every record therefore has a vote on the class of each image: by its probe, or by the prediction
of the output. `benchmarks/bench_wrong_labels.py` shows how well it finds wrong labels.
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


def add_votes(votes: np.ndarray, classes: np.ndarray, weight: float) -> None:
    """Adds the votes of one record, in place. Undefined classes have none.

    Args:
        votes: (image, class) sums of weights.
        classes: (layer, image) classes that probes and the output predict.
        weight: weight of the record.
    """
    undefined = undefined_class(classes.dtype)
    rows = np.arange(classes.shape[1])
    for of_layer in classes:
        defined = (of_layer != undefined) & (of_layer < votes.shape[1])
        votes[rows[defined], of_layer[defined]] += weight / len(classes)


def rival_label(votes: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How suspicious each given label is, and the class that most others say.

    The suspicion is the share of the votes for the strongest other class, minus the share for the
    given label: 1 if everything always said one other class, -1 if everything always said the given
    label, and above 0 where another class has more votes than the given label.

    Args:
        votes: (image, class) sums of weights.
        given: (image,) given labels.

    Returns:
        (image,) suspicion, NaN without votes; and (image,) the strongest other class, -1 if none
        has a vote.
    """
    rows = np.arange(len(votes))
    others = votes.copy()
    others[rows, given] = -1
    rival = others.argmax(axis=1)
    strength = others[rows, rival]
    total = votes.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        suspicion = (np.maximum(strength, 0) - votes[rows, given]) / total
    return np.where(total > 0, suspicion, np.nan), np.where(strength > 0, rival, -1)
