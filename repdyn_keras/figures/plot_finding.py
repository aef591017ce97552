"""A finding: both sides of every seed, and their differences with interval."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from repdyn_keras.errors import unknown
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import require
from repdyn_keras.figures.parts.page import (
    PictureFile,
    new_page,
    picture,
    quiet_frame,
    settle,
    title_panel,
)
from repdyn_keras.figures.parts.selection import Selection
from repdyn_keras.figures.parts.sheet import sheet
from repdyn_keras.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, ASPECT = 9.0, 0.72
AS_PREDICTED: style.Look = {"color": "#0077BB", "linestyle": "-", "marker": "o"}
AGAINST: style.Look = {"color": "#EE7733", "linestyle": (0, (4, 1.5)), "marker": "s"}
SEED: style.Look = {"markersize": 5.5, "linewidth": 1.2, "alpha": 0.85}
MEAN: style.Look = {"color": style.INK, "marker": "D", "markersize": 8, "linewidth": 2.2}
READING: style.Look = {"color": style.INK, "marker": "D", "markersize": 7, "mfc": "white"}
BAND: style.Look = {"color": "#EDEDED", "zorder": 0, "linewidth": 0}
HINT = "Expected findings of a study."
SIMILARITY_NAMES = {"cka": "CKA", "region_agreement": "region agreement"}
# Positions of the columns of the right panel, and the width of the cloud of seeds.
COLUMNS = {"seeds": 0.0, "mean and\n95% interval": 1.0, "recalibrated\nBatchNorm": 2.0}
COLUMNS["raw\nepochs"] = 3.0
CLOUD = 0.5


def draw_finding(findings: xr.Dataset, _: Selection) -> Iterator[PictureFile]:
    """Draw `finding_{row}.png` of every row that has an effect."""
    for name, effect in zip(findings["row"].values, findings["effect"].values, strict=True):
        if np.isfinite(effect):
            yield picture(f"finding_{name}", finding(findings, str(name)))


@style.as_it_is
def finding(findings: xr.Dataset, row: str) -> "Figure":
    """Both sides of every seed, joined by a line, and beside them the differences.

    The differences have their mean with its 95% interval, a line at zero, a grey band of effects
    that are too small to be of interest, and the mean in the two other readings.

    Args:
        findings: Dataset of the rows of a study.
        row: name of the row.

    Returns:
        The Figure, with two Axes.

    Raises:
        InputError: there is no such row, or the Dataset holds no findings.
    """
    for name in ("left", "right", "effect", "verdict"):
        require(findings, name, HINT)
    names = [str(name) for name in findings["row"].values]
    if row not in names:
        raise unknown("row", row, names)
    found = findings.isel(row=names.index(row))
    title = visible(found["claim"].values)
    figure, body = new_page(min(WIDTH, sheet().width), title, _about(findings, found))
    grid = body.add_gridspec(1, 2)
    axes = [body.add_subplot(grid[index]) for index in range(2)]
    pairs = np.stack([found["left"].values, found["right"].values])
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    _draw_sides(axes[0], found, pairs)
    _draw_differences(axes[1], found, pairs[0] - pairs[1])
    settle(figure, axes, ASPECT)
    return figure


def _about(findings: xr.Dataset, found: xr.Dataset) -> str:
    """The subtitle: the verdict with its reason, and the numbers."""
    verdict, reason = (visible(found[name].values) for name in ("verdict", "reason"))
    effect, lower, upper, p, p_holm = (
        float(found[name]) for name in ("effect", "lower", "upper", "p", "p_holm")
    )
    numbers = f"{effect:+.3g}"
    if np.isfinite(lower):
        numbers += f" (95% interval {lower:+.3g} to {upper:+.3g})"
    numbers += f", p {p:.2g}" + (f", Holm p {p_holm:.2g}" if np.isfinite(p_holm) else "")
    similarity = str(found["similarity"].values)
    words = (
        f"Verdict: {verdict}",
        # The p value stands beside it.
        "" if reason.startswith("Holm p") else reason.rstrip("."),
        f"effect {numbers}",
        f"by {SIMILARITY_NAMES.get(similarity, similarity)}",
        style.subtitle(findings),
    )
    return " · ".join(word for word in words if word).replace(" -", " −")


def _draw_sides(ax: "Axes", found: xr.Dataset, pairs: np.ndarray) -> None:
    """Draw the left and the right value of every seed, joined by a line."""
    for left, right in pairs.T:
        look = AS_PREDICTED if left > right else AGAINST
        ax.plot([0, 1], [left, right], markeredgecolor="white", **SEED, **look)
    ax.plot([-0.14, 1.14], pairs.mean(axis=1), **MEAN | {"linestyle": "none", "zorder": 4})
    sides = [visible(found[f"{side}_side"].values) for side in ("left", "right")]
    ax.set_xticks([0, 1], sides)
    ax.set_xlim(-0.4, 1.4)
    quantity, unit = (visible(found[name].values) for name in ("quantity", "unit"))
    label = quantity if unit in quantity else f"{quantity}\n({unit})"
    ax.set_ylabel(label, size=sheet().label)
    count, higher = pairs.shape[1], int((pairs[0] > pairs[1]).sum())
    predicted = f"blue: {higher} of {count} seeds higher at the left, as predicted"
    title_panel(ax, f"a line is a seed, a diamond the mean\n{predicted}")
    _finish(ax)


def _draw_differences(ax: "Axes", found: xr.Dataset, differences: np.ndarray) -> None:
    """Draw the differences, their mean with interval, and the mean in other readings."""
    smallest, effect = float(found["smallest_effect"]), float(found["effect"])
    ax.axhspan(-smallest, smallest, **BAND)
    ax.axhline(0, color=style.INK, linewidth=1.0, zorder=1)
    positions = list(COLUMNS.values())
    offsets = np.linspace(-CLOUD / 2, CLOUD / 2, len(differences)) if len(differences) > 1 else [0]
    for offset, difference in zip(offsets, np.sort(differences), strict=True):
        look = (AS_PREDICTED if difference > 0 else AGAINST) | {"linestyle": "none"}
        ax.plot([offset], [difference], markeredgecolor="white", **SEED, **look)
    lower, upper = float(found["lower"]), float(found["upper"])
    if np.isfinite(lower):
        ax.plot([positions[1]] * 2, [lower, upper], color=style.INK, linewidth=2.2)
    ax.plot([positions[1]], [effect], **MEAN)
    for position, name in zip(positions[2:], ("recalibrated", "raw"), strict=True):
        value = float(found[f"effect_{name}"])
        if np.isfinite(value):
            ax.plot([position], [value], **READING)
        else:
            look = {"ha": "center", "va": "bottom", "size": sheet().small, "color": style.FAINT}
            ax.text(position, 0.02, "not\nmeasured", transform=ax.get_xaxis_transform(), **look)
    ax.set_xticks(positions, list(COLUMNS))
    ax.set_xlim(positions[0] - 0.5, positions[-1] + 0.5)
    ax.set_ylabel("difference, left minus right", size=sheet().label)
    title_panel(ax, f"grey band: effects too small to be\nof interest, up to {smallest:g}")
    _finish(ax)


def _finish(ax: "Axes") -> None:
    """Room above and below, and a quiet frame."""
    ax.margins(y=0.12)
    ax.tick_params(labelsize=sheet().small)
    quiet_frame(ax)
