"""Phases of a layer: stretches of its path whose borders are tested against smooth change."""

from dataclasses import dataclass, field

import numpy as np

from repdyn_keras.measures import Arrays, Dims, Measure, Series
from repdyn_keras.measures.borders import effects, place, windows
from repdyn_keras.measures.surrogates import surrogates
from repdyn_keras.measures.threads import one_blas_thread, parallel_map
from repdyn_keras.measures.trails import MAX_DIMENSION, Trail, fit_trail
from repdyn_keras.measures.trajectory import Axis, defined_records, octaves, states, whole_epochs

MIN_RECORDS = 8
SURROGATES = 999
# Surrogates that are held in memory at a time.
CHUNK = 111
# Below the usual 0.05, since the parts of a divided path are tested as well.
SIGNIFICANCE = 0.03
# Least z of a border. In short stretches, p can be small at smaller values.
MIN_Z = 3.0
# With fewer records than this on one side, the least z is larger: two records are a small sample.
MIN_SURE_RECORDS, MIN_END_Z = 3, 4.0
# Least contrast, and least fall of restlessness, of a border, in units of similarity.
MIN_CONTRAST, MIN_FALL = 0.03, 0.02
# Deviation of an effect that is due to the surrogates themselves.
MODEL_DEVIATION = 0.004
# Kinds of borders, as stored in `border_kind`.
NO_BORDER, STATE, RESTLESSNESS = 0, 1, 2
# Suffixes of the variables of phases, by the similarity that defines the paths.
SIMILARITIES = {"cka": "", "region_agreement": "_regions"}
BORDER_NUMBERS = {
    "border_z": "z",
    "border_p": "p",
    "contrast": "contrast",
    "restlessness": "restlessness",
}
LAYER_NUMBERS = ("distinguishability", "contrast_seen", "phases_p", "noise_dimension")


@dataclass(frozen=True)
class Border:
    """A border between two phases.

    Attributes:
        record: index of the first record of the new phase.
        kind: STATE, if the state changes, or RESTLESSNESS, if scatter from record to record ends.
        z: the effect of its kind minus its mean over the surrogates, divided by their deviation.
        p: share of surrogates whose largest z of all borders is at least as large.
        contrast: similarity within the stretches around the border minus that across it, beyond its
            mean over the surrogates.
        restlessness: similarity within the stretch after the border minus that within the one
            before, beyond its mean over the surrogates.
    """

    record: int
    kind: int
    z: float
    p: float
    contrast: float
    restlessness: float


@dataclass(frozen=True)
class Phases:
    """The phases of one path.

    Attributes:
        labels: (t,) number of the phase of each record, from 1.
        borders: the borders between them, in order.
        noise_share: (t,) share of the squared norm of each record that is scatter.
        noise_dimension: dimension of the scatter.
        p: smallest p of all borders of the whole path whose effect and z are large enough;
            1 if there are none.
        distinguishability: contrast of the states at the border of the largest z, beyond
            that of surrogates; 0 = smooth change, see `distinguished`.
        contrast_seen: the same of the similarities themselves.

    With fewer than 8 records, there is one phase and all numbers are NaN. If the records are spaced
    so unevenly that no border can be tested (see `borders.effects`), there is one phase, and `p`,
    `distinguishability` and `contrast_seen` are NaN.
    """

    labels: np.ndarray
    noise_share: np.ndarray
    borders: list[Border] = field(default_factory=list)
    noise_dimension: float = float("nan")
    p: float = float("nan")
    distinguishability: float = float("nan")
    contrast_seen: float = float("nan")


def find_phases(
    gram: np.ndarray, epochs: np.ndarray, seed: int = 0, axis: Axis = octaves
) -> Phases:
    """Divides a path into phases, at borders that smooth change does not explain.

    The strongest border of the whole path divides it, if it is significant; each part is then
    divided in the same way, with surrogates of its own.

    Source: a method of this project; `docs/measures/phases.md` gives its error rates.

    Args:
        gram: (t, t) similarities, unit diagonal, positive semidefinite, finite.
        epochs: (t,) epochs of the records, increasing.
        seed: seed of the surrogates.
        axis: positions of epochs, in octaves.

    Returns:
        The phases.
    """
    t, u = len(gram), axis(epochs)
    if t < MIN_RECORDS:
        return Phases(np.ones(t, dtype=np.int64), np.full(t, np.nan))
    trail = fit_trail(gram, u)
    if not is_testable(u):
        labels = np.ones(t, dtype=np.int64)
        return Phases(labels, trail.noise_shares, noise_dimension=trail.dimension)
    whole = _Stretch(gram, u, trail, seed)
    borders, stretches = [], [(0, t)]
    while stretches:
        start, stop = stretches.pop()
        part, stretch = slice(start, stop), whole
        if not is_testable(u[part]):
            continue
        if stop - start < t:
            inside = gram[part, part], u[part]
            stretch = _Stretch(*inside, fit_trail(*inside, trail, part), seed)
        border = stretch.border(start)
        if border is not None:
            borders.append(border)
            stretches += [(start, border.record), (border.record, stop)]
    borders.sort(key=lambda border: border.record)
    first_records = [border.record for border in borders]
    return Phases(
        labels=1 + np.searchsorted(first_records, np.arange(t), side="right"),
        noise_share=trail.noise_shares,
        borders=borders,
        noise_dimension=trail.dimension,
        p=whole.smallest_p(),
        distinguishability=distinguished(whole.state_contrast, whole.z_contrast),
        contrast_seen=distinguished(whole.contrast, whole.z_contrast),
    )


def is_testable(u: np.ndarray) -> bool:
    """Whether records at (t,) octaves are enough for a border, and close enough on either side."""
    return len(u) >= MIN_RECORDS and len(windows(tuple(u)).borders) > 0


class _Stretch:
    """One stretch of a path, compared with its surrogates.

    Args:
        gram: (t, t) similarities, t >= 8.
        u: (t,) octaves of the records.
        trail: the trail of the stretch.
        seed: seed of the surrogates.

    Attributes:
        excess: (t, t) similarities minus their mean over the surrogates.
        contrast, state_contrast, fall: (1 + surrogates, window) contrast of the similarities and of
            the states, and fall of restlessness; those of the stretch first.
        z_contrast, z_fall: (1 + surrogates, window) in deviations of the surrogates.
    """

    def __init__(self, gram: np.ndarray, u: np.ndarray, trail: Trail, seed: int):
        self.u, self.windows = u, windows(tuple(u))
        rng = np.random.default_rng(seed)
        parts, total = [self._effects(gram[None], trail)], np.zeros_like(gram)
        for _ in range(SURROGATES // CHUNK):
            drawn = surrogates(trail, u, CHUNK, rng)
            total += drawn.sum(axis=0)
            parts.append(self._effects(drawn, trail))
        self.excess = gram - total / SURROGATES
        effect_groups = zip(*parts, strict=True)
        self.contrast, self.fall, self.state_contrast = map(np.concatenate, effect_groups)
        self.z_contrast, self.z_fall = _standardized(self.contrast), _standardized(self.fall)
        z = np.maximum(self.z_contrast, self.z_fall)
        self.z = z[0]
        self.p = (1 + (z[1:].max(axis=1)[:, None] >= self.z).sum(axis=0)) / len(z)
        self.of_state = self.z_contrast[0] >= self.z_fall[0]
        self.excess_contrast = self.contrast[0] - self.contrast[1:].mean(axis=0)
        self.excess_fall = self.fall[0] - self.fall[1:].mean(axis=0)
        is_contrasted = self.excess_contrast >= MIN_CONTRAST
        self.large = np.where(self.of_state, is_contrasted, self.excess_fall >= MIN_FALL)
        borders = self.windows.borders
        is_near_end = np.minimum(borders, len(u) - borders) < MIN_SURE_RECORDS
        self.large &= self.z >= np.where(is_near_end, MIN_END_Z, MIN_Z)

    def _effects(self, grams: np.ndarray, trail: Trail) -> tuple[np.ndarray, ...]:
        contrast, fall = effects(grams, self.windows)
        return contrast, fall, effects(states(grams, trail.noise_shares), self.windows)[0]

    def smallest_p(self) -> float:
        """Smallest p of all borders whose effect and z are large enough; 1 if there are none."""
        return float(self.p[self.large].min(initial=1.0))

    def border(self, start: int) -> Border | None:
        """The strongest significant border, or None.

        It is moved to the significant border near it that fits best (`place`), whose kind and
        numbers it gets.

        Args:
            start: index of the first record of the stretch in the path.
        """
        significant = np.flatnonzero((self.p <= SIGNIFICANCE) & self.large)
        if len(significant) == 0:
            return None
        candidates = self.windows.borders[significant]
        record = candidates[np.argmax(self.z[significant])]
        placed = place(self.excess, self.u, int(record))
        if placed in candidates:
            record = placed
        windows = significant[candidates == record]
        window = windows[np.argmax(self.z[windows])]
        return Border(
            record=start + int(record),
            kind=STATE if self.of_state[window] else RESTLESSNESS,
            z=float(self.z[window]),
            p=float(self.p[window]),
            contrast=float(self.excess_contrast[window]),
            restlessness=float(self.excess_fall[window]),
        )


def _standardized(values: np.ndarray) -> np.ndarray:
    """(1 + k, window) values in deviations from the mean of the k surrogates."""
    deviation = np.sqrt(values[1:].var(axis=0, ddof=1) + MODEL_DEVIATION**2)
    return (values - values[1:].mean(axis=0)) / deviation


def distinguished(contrast: np.ndarray, z: np.ndarray) -> float:
    """Contrast at the border of the largest z, beyond what surrogates reach at theirs.

    sqrt(max(0, e |e| - mean e_k^2)), with the contrasts e of the path and e_k of the surrogates,
    minus the surrogates' mean at that border.

    Args:
        contrast: (1 + k, window) contrasts, of the path first and of k surrogates.
        z: (1 + k, window) their z.

    Returns:
        The excess; 0 if the path is no more contrasted than its surrogates.
    """
    window = z.argmax(axis=1)
    excess = contrast[np.arange(len(z)), window] - contrast[1:].mean(axis=0)[window]
    return float(np.sqrt(max(0.0, excess[0] * abs(excess[0]) - np.mean(excess[1:] ** 2))))


def phases_by_layer(
    grams: np.ndarray, epochs: list[float], axis: Axis = octaves
) -> dict[str, np.ndarray]:
    """Phases of every layer. Records at which a layer is undefined are left out and get phase 0.

    Early records are left out too, see `whole_epochs`. They get the phase of the whole epoch
    before, and no noise share.

    Args:
        grams: (layer, epoch, epoch_other) similarities.
        epochs: the recorded epochs.
        axis: positions of epochs, in octaves.

    Returns:
        `phase`, `border_kind` and `noise_share` (layer, epoch); BORDER_NUMBERS (layer, epoch), at
        the first record of a new phase and NaN elsewhere; LAYER_NUMBERS (layer,).
    """
    layers, t = grams.shape[:2]
    numbers = ("phase", "border_kind")
    variables: dict[str, np.ndarray] = {name: np.zeros((layers, t), np.int64) for name in numbers}
    variables |= {name: np.full((layers, t), np.nan) for name in (*BORDER_NUMBERS, "noise_share")}
    variables |= {name: np.full(layers, np.nan) for name in LAYER_NUMBERS}
    times = np.array(epochs, float)
    records = [whole_epochs(defined_records(gram), times) for gram in grams]

    def of_layer(index: int) -> Phases:
        defined = records[index]
        gram = grams[index][np.ix_(defined, defined)]
        return find_phases(gram, times[defined], axis=axis)

    # The matrices are too small for several threads, and the results do not depend on their number.
    with one_blas_thread():
        size = 16 * CHUNK * t * max(t, MAX_DIMENSION)
        found = list(parallel_map(of_layer, range(layers), size))
    for index, phases in enumerate(found):
        defined = records[index]
        variables["phase"][index, defined] = phases.labels
        for record in np.setdiff1d(defined_records(grams[index]), defined):
            before = defined[defined < record]
            if len(before):
                variables["phase"][index, record] = variables["phase"][index, before[-1]]
        variables["noise_share"][index, defined] = phases.noise_share
        for border in phases.borders:
            at = index, defined[border.record]
            variables["border_kind"][at] = border.kind
            for name, attribute in BORDER_NUMBERS.items():
                variables[name][at] = getattr(border, attribute)
        variables["phases_p"][index] = phases.p
        variables["distinguishability"][index] = phases.distinguishability
        variables["contrast_seen"][index] = phases.contrast_seen
        variables["noise_dimension"][index] = phases.noise_dimension
    return variables


def over_epochs(series: Series) -> Arrays:
    """Phases of every layer by CKA and, if regions are recorded, by region agreement."""
    variables: dict[str, np.ndarray] = {}
    for similarity, suffix in SIMILARITIES.items():
        grams = series.computed(similarity)
        if grams is not None:
            phases = phases_by_layer(grams, series.epochs)
            variables |= {f"{name}{suffix}": array for name, array in phases.items()}
    return variables


def variable_table() -> dict[str, Dims]:
    """Dims of the variables of all similarities."""
    table: dict[str, Dims] = {}
    for suffix in SIMILARITIES.values():
        by_record = ("phase", "border_kind", *BORDER_NUMBERS, "noise_share")
        table |= {f"{name}{suffix}": ("layer", "epoch") for name in by_record}
        table |= {f"{name}{suffix}": ("layer",) for name in LAYER_NUMBERS}
    return table


# Long names and units; of the similarity that the suffix names.
MEANINGS = {
    "phase": ("number of the phase, from 1; 0 where the layer is undefined", "1"),
    "border_kind": ("kind of the border before this epoch: 0 none, 1 state, 2 restlessness", "1"),
    "border_z": ("effect of the border in deviations of its surrogates", "1"),
    "border_p": ("share of surrogates with an effect as large as the border's", "1"),
    "contrast": ("contrast of the states at the border, beyond surrogates", "1"),
    "restlessness": ("fall of restlessness at the border, beyond surrogates", "1"),
    "noise_share": ("share of scatter in the squared norm of the record", "1"),
    "distinguishability": ("contrast of the states at the clearest border of the layer", "1"),
    "contrast_seen": ("the same contrast of the similarities, with their scatter", "1"),
    "phases_p": ("smallest p of all borders of the layer", "1"),
    "noise_dimension": ("dimension of the scatter", "1"),
}


def meanings() -> dict[str, tuple[str, str]]:
    """Long names and units of the variables of all similarities."""
    return {
        f"{name}{suffix}": (f"{text}, by {similarity.replace('_', ' ')}", unit)
        for similarity, suffix in SIMILARITIES.items()
        for name, (text, unit) in MEANINGS.items()
    }


MEASURE = Measure(
    name="phases",
    title="phases",
    computed=variable_table(),
    meanings=meanings(),
    over_epochs=over_epochs,
)
