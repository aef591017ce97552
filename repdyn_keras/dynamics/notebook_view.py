"""A run as the value of a cell of a notebook: what it was, what happened, and a small picture."""

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from repdyn_keras.dynamics.remarks import has_accuracy
from repdyn_keras.dynamics.story import story
from repdyn_keras.text import format_epoch, visible

if TYPE_CHECKING:
    from repdyn_keras.dynamics.recorded_run import Run

# Inches of the picture.
WIDTH = 6.5


def run_html(run: "Run") -> str:
    """A run as HTML that needs nothing else; text of the run is escaped.

    Raises:
        InputError: the run's files are damaged.
    """
    dynamics = run.dynamics
    history, _ = run.known_history()
    epochs, layers = dynamics["epoch"].values, dynamics["layer"].values
    about = (
        f"{len(epochs)} recorded epochs from {format_epoch(epochs[0])} to "
        f"{format_epoch(epochs[-1])}, "
        f"{len(layers)} layers, {visible(run.folder.path)}"
    )
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in story(dynamics, history)[:-1])
    parts = [
        f"<b>{escape(visible(dynamics.attrs.get('title', '')))}</b>",
        f"<div>{escape(about)}</div>",
        f"<ul>{items}</ul>",
    ]
    if has_accuracy(dynamics) and np.isfinite(dynamics["probe_accuracy"][-1]).any():
        parts.append(picture_html(run))
    return f"<div>{''.join(parts)}</div>"


def picture_html(run: "Run") -> str:
    """The learning curves as an image inside HTML."""
    from repdyn_keras.figures import Sheet, learning_curves
    from repdyn_keras.figures.parts.page import rendered
    from repdyn_keras.figures.parts.sheet import on_sheet
    from repdyn_keras.figures.parts.style import without_tex

    with without_tex(), on_sheet(Sheet(WIDTH, heading=False)):
        data = base64.b64encode(rendered(learning_curves(run.dynamics), "png")).decode()
    text = "Accuracy of the network on each subset of images, over epochs"
    return f'<img alt="{text}" style="width: {WIDTH:g}in" src="data:image/png;base64,{data}">'
