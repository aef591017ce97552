"""Figures as files, each written whole or not at all."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from repdyn_keras.figures import style


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which replaces it once the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_all(
    plan: Mapping[str, Callable],
    folder: str | os.PathLike,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw figures and write them as PNG files; one figure is in memory at a time.

    Args:
        plan: file names and functions that return the Figure.
        folder: made where it does not exist; files of the same names are replaced.
        progress: called with a line of text after each file.

    Returns:
        The files, in the order of drawing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in plan.items():
        figure = draw()
        with whole_file(folder / name) as temporary:
            # No software name: the same data give the same bytes under another matplotlib patch.
            figure.savefig(temporary, format="png", dpi=style.DPI, metadata={"Software": None})
        written.append(folder / name)
        if progress is not None:
            progress(f"drew {written[-1]}")
    return written
