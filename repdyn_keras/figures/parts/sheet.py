"""The sheet that figures are drawn on: its width, its heading, its sizes of text, its format."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from repdyn_keras.errors import InputError, unknown

FORMATS = ("png", "pdf", "svg")
# Inches of a sheet with full sizes of text, and the least scale of smaller sheets.
FULL_WIDTH, MIN_SCALE = 9.0, 0.75
MIN_WIDTH, MAX_WIDTH = 2.5, 60.0


@dataclass(frozen=True)
class Sheet:
    """What figures are drawn on, at the size at which they will be read.

    Attributes:
        width: of a page, in inches; figures with few panels are narrower.
        heading: whether pages have a title and a subtitle.
        file_format: of the files: "png", "pdf" or "svg".

    Raises:
        InputError: the width or the format is invalid.
    """

    width: float = 12.0
    heading: bool = True
    file_format: str = "png"

    def __post_init__(self) -> None:
        if not MIN_WIDTH <= self.width <= MAX_WIDTH:
            raise InputError(
                f"Expected a width between {MIN_WIDTH:g} and {MAX_WIDTH:g} inches. "
                f"Received: {self.width:g} inches."
            )
        if self.file_format not in FORMATS:
            raise unknown("format of figures", self.file_format, FORMATS)

    @property
    def scale(self) -> float:
        """The size of text and of marks, 1 on a wide sheet."""
        return min(1.0, max(MIN_SCALE, self.width / FULL_WIDTH))

    @property
    def title(self) -> float:
        """Points of a page's title."""
        return 13.0 * self.scale

    @property
    def panel_title(self) -> float:
        """Points of a panel's title."""
        return 9.5 * self.scale

    @property
    def label(self) -> float:
        """Points of the labels of axes, and of a page's subtitle."""
        return 9.5 * self.scale

    @property
    def small(self) -> float:
        """Points of tick labels and legends."""
        return 8.5 * self.scale

    @property
    def name(self) -> float:
        """Points of names at the cells of a grid."""
        return 8.0 * self.scale


SCREEN = Sheet()
_present: ContextVar[Sheet] = ContextVar("sheet", default=SCREEN)


def sheet() -> Sheet:
    """The sheet that is drawn on."""
    return _present.get()


@contextmanager
def on_sheet(chosen: Sheet) -> Iterator[None]:
    """A context in which figures are drawn on a sheet."""
    token = _present.set(chosen)
    try:
        yield
    finally:
        _present.reset(token)
