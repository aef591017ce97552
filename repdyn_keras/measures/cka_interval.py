"""Confidence interval of CKA over the images, from what changes when one of them is left out."""

import numpy as np

LEVEL = 0.95
# Number of pairs that are computed in float64 at a time, and bytes of arrays for several images.
PAIRS = 4096
IMAGES_BYTES = 1 << 21
# Similarities closer to 1 than this are rounding errors away from it, and so are their bounds.
ROUNDING = 1e-7
# Beyond this, quantiles of the t distribution are those of the normal distribution.
MAX_FREEDOM = 1e6
# Halvings in the search for a bound: to a 1e-9 of its distance.
BISECTIONS = 30
# The smallest batch of the unbiased estimator, from which no image can be left out.
MIN_BATCH = 4


class Influences:
    """What each image contributes to CKA, summed up for a confidence interval.

    The interval is meant to cover the CKA of the population that the images were drawn from. With
    fingerprints f of length 1, let h_i(s, t) be the sum of f_s f_t over the pairs of image i with
    the other images of its batch of b. Leaving out image i and centring again then changes the
    similarity c to exactly

        c_i = (c - q h_i(s, t)) / sqrt((1 - q h_i(s, s)) (1 - q h_i(t, t))),  q = (b - 2) / (b - 3).

    The jackknife variance of the c_i counts the variance that comes from pairs of images, beyond
    that of single images, twice. With the variance p from pairs, the sum over pairs of
    (f_s f_t - c (f_s^2 + f_t^2) / 2)^2, that from single images is v = jackknife - 2 p. At a
    similarity of 0 v vanishes, p is about the square of `null_deviation`, and v grows in proportion
    to the similarity. Each bound z = atanh c' is therefore the solution of

        |z - atanh c| = t sqrt(p + v c' / c) / (1 - c^2),

    with the variance at the bound and not at c. In c' / c, c is at least 2 sqrt(p), and a negative
    c' counts as 0. The quantile t has the degrees of freedom of the sum of the (c_i - c)^2, so that
    few influential images widen the interval.

    Source: Efron and Stein 1981, The jackknife estimate of variance (Annals of Statistics 9(3));
    Wilson 1927 (JASA 22) for the variance at the bound; Satterthwaite 1946 (Biometrics Bulletin
    2(6)) for the degrees of freedom.

    Args:
        similarities: (m, m) CKA between all fingerprints.
        batch: images in a batch.
    """

    def __init__(self, similarities: np.ndarray, batch: int):
        self._c, self._batch = similarities, batch
        self._place = places(batch)
        self._pairs = np.zeros((2, *similarities.shape))
        self._powers = np.zeros((3, *similarities.shape))
        self._shares: list[np.ndarray] = []

    def add_batch(self, part: np.ndarray) -> None:
        """Adds the part (m, b (b - 1) / 2) of one batch of fingerprints of length 1."""
        for start in range(0, part.shape[1], PAIRS):
            f = part[:, start : start + PAIRS].astype(np.float64)
            square = f * f
            self._pairs[0] += square @ square.T
            self._pairs[1] += (square * f) @ f.T
        size = 8 * max(1, len(part)) * max(len(part), self._batch)
        count = max(1, IMAGES_BYTES // size)
        for start in range(0, self._batch, count):
            self._add_images(part, np.arange(start, min(start + count, self._batch)))

    def _add_images(self, part: np.ndarray, images: np.ndarray) -> None:
        rows = part.take(self._place[images], axis=1).swapaxes(0, 1)
        rows[np.arange(len(images)), :, images] = 0
        h = rows @ rows.swapaxes(1, 2)
        own = np.einsum("imm->im", h).astype(np.float64)
        self._shares.append(own / 2)
        q = (self._batch - 2) / (self._batch - 3)
        rest = 1 - q * own
        scale = np.where(rest > 0, rest, np.nan) ** -0.5
        change = self._c - q * h
        change *= scale[:, :, None]
        change *= scale[:, None]
        change -= self._c
        square = change * change
        self._powers[0] += change.sum(axis=0)
        self._powers[1] += square.sum(axis=0)
        self._powers[2] += np.einsum("ist,ist->st", square, square)

    @property
    def shares(self) -> np.ndarray:
        """(n, m) share of each image in the squared norm of a fingerprint; sums to 1 over n."""
        return np.concatenate(self._shares)

    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        """The variance of CKA over draws of the images in two parts.

        Returns:
            (m, m) variance that comes from single images, and from pairs beyond that.
        """
        n = len(self.shares)
        total, squares, _ = self._powers
        jackknife = (n - 1) / n * (squares - total**2 / n)
        same, cubes = self._pairs
        own = np.diagonal(same)
        pairs = same - self._c * (cubes + cubes.T)
        pairs += self._c**2 / 4 * (own[:, None] + 2 * same + own)
        return np.maximum(jackknife - 2 * pairs, 0), pairs

    def bounds(self) -> np.ndarray:
        """(m, m, 2) lower and upper bound of the interval, both 1 on the diagonal.

        NaN where an image cannot be left out: in batches of 4, and where a fingerprint consists of
        the pairs of a single image.
        """
        from scipy.special import stdtrit

        n = len(self.shares)
        _, squares, fourths = self._powers
        is_one = 1 - np.abs(self._c) < ROUNDING
        c = np.where(is_one, 0, self._c)
        singles, pairs = self.variances()
        with np.errstate(invalid="ignore", divide="ignore"):
            freedom = 2 / np.maximum(fourths / squares**2 - 1 / n, 1 / MAX_FREEDOM)
            quantile = stdtrit(freedom, (1 + LEVEL) / 2) / (1 - c**2)
            slope = singles / np.maximum(c, 2 * np.sqrt(pairs))
            ends = [end_of_interval(c, pairs, slope, side * quantile) for side in (-1, 1)]
        bounds = np.tanh(np.stack(ends, axis=-1))
        bounds = (bounds + bounds.swapaxes(0, 1)) / 2
        bounds[is_one] = 1
        if self._batch == MIN_BATCH:
            bounds[:] = np.nan
        bounds[np.diag_indices(len(c))] = 1
        return bounds


def end_of_interval(
    c: np.ndarray, pairs: np.ndarray, slope: np.ndarray, quantile: np.ndarray
) -> np.ndarray:
    """The z with z = atanh c + quantile sqrt(pairs + slope max(tanh z, 0)), by bisection.

    Args:
        c: similarities.
        pairs: variance that does not depend on the similarity.
        slope: variance per unit of similarity.
        quantile: with its sign; negative for the lower end.
    """
    centre = np.arctanh(c)
    near, far = np.zeros_like(c), np.ones_like(c)
    whole = quantile * np.sqrt(pairs + slope)
    for _ in range(BISECTIONS):
        middle = (near + far) / 2
        similarity = np.maximum(np.tanh(centre + middle * whole), 0)
        reached = np.sqrt((pairs + slope * similarity) / (pairs + slope))
        near, far = (
            np.where(middle < reached, middle, near),
            np.where(middle < reached, far, middle),
        )
    return centre + far * whole


def places(b: int) -> np.ndarray:
    """(b, b) place of each entry of a symmetric matrix among those above its diagonal.

    On the diagonal, 0.
    """
    found = np.zeros((b, b), np.intp)
    row, column = np.triu_indices(b, 1)
    found[row, column] = found[column, row] = np.arange(len(row))
    return found
