"""Figures as files, each written whole or not at all."""

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from repdyn_keras.figures import style


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; one of the same name is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_all(
    plan: Mapping[str, Callable],
    folder: str | os.PathLike,
    progress: Callable[[str], None] | None = None,
    write: Callable[[Path, bytes], None] = write_whole,
) -> list[Path]:
    """Draw figures and write them as PNG files; one figure is in memory at a time.

    Args:
        plan: file names and functions that return the Figure.
        folder: made where it does not exist; files of the same names are replaced.
        progress: called with a line of text after each file.
        write: writes each file.

    Returns:
        The files, in the order of drawing.
    """
    folder = Path(folder)
    written = []
    for name, draw in plan.items():
        data = io.BytesIO()
        with style.without_tex():
            # No software name: the same data give the same bytes under another matplotlib patch.
            draw().savefig(data, format="png", dpi=style.DPI, metadata={"Software": None})
        write(folder / name, data.getvalue())
        written.append(folder / name)
        if progress is not None:
            progress(f"drew {written[-1]}")
    return written
