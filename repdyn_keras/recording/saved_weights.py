"""Files of saved weights: their epochs, and how they are loaded into a model."""

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras

from repdyn_keras.errors import InputError
from repdyn_keras.records.netcdf import require_self_contained
from repdyn_keras.text import format_names, format_shape

ENDINGS = (".weights.h5", ".keras")
EPOCH = re.compile(r"epoch[-_= ]?(\d+)", re.IGNORECASE)
NUMBER = re.compile(r"\d+\.\d+|\d+")
WEIGHTS_IN_ARCHIVE = "model.weights.h5"


@dataclass(frozen=True)
class WeightFiles:
    """The files of saved weights in a folder.

    Attributes:
        files: file by epoch, ascending.
        ignored: names of files with the right ending and no epoch in their names.
    """

    files: dict[int, Path]
    ignored: list[str]


def find_weight_files(folder: str | Path) -> WeightFiles:
    """The files of saved weights in a folder, one for each epoch, by the epochs in their names.

    The epoch is the number after the word "epoch"; where the names lack it, the first whole number
    that differs between the files, as in `resnet18-007-0.53.keras`; the last one where none does.
    It is the number of epochs trained so far, like `{epoch}` of Keras's `ModelCheckpoint`.

    Raises:
        InputError: no such folder, no checkpoints in it, or two for one epoch.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "Expected a folder with a file of saved weights for each epoch: "
            "epoch-000.weights.h5, epoch-001.weights.h5, ... or .keras. Received: "
            f"{folder}, which is not a folder."
        )
    names = sorted(
        file.name
        for file in folder.iterdir()
        if file.name.endswith(ENDINGS) and not file.name.startswith(".") and file.is_file()
    )
    epochs = epochs_of(names)
    if not epochs:
        received = f"no such file in {folder}"
        if names:
            received = f"{len(names)} files without an epoch in {folder}, such as {names[0]}"
        raise InputError(
            "Expected files that end in .weights.h5 or .keras and have the epoch in their names, "
            f"such as epoch-012.weights.h5. Received: {received}."
        )
    files: dict[int, Path] = {}
    for name, epoch in sorted(epochs.items(), key=lambda item: (item[1], item[0])):
        if epoch in files:
            raise InputError(
                f"Expected one file for each epoch in {folder}. Received: two for epoch {epoch}, "
                f"{files[epoch].name} and {name}. Move one of them away."
            )
        files[epoch] = folder / name
    return WeightFiles(files, [name for name in names if name not in epochs])


def epochs_of(names: list[str]) -> dict[str, int]:
    """The epochs in file names; names without one are left out."""
    stems = {}
    for name in names:
        ending = next(e for e in ENDINGS if name.endswith(e))
        stems[name] = name.removesuffix(ending)
    matches = {name: EPOCH.search(stem) for name, stem in stems.items()}
    if any(matches.values()):
        return {name: int(match[1]) for name, match in matches.items() if match}
    numbers = {
        name: [int(n) for n in NUMBER.findall(stem) if "." not in n] for name, stem in stems.items()
    }
    numbers = {name: found for name, found in numbers.items() if found}
    if not numbers:
        return {}
    places = range(min(len(found) for found in numbers.values()))
    differing = [p for p in places if len({found[p] for found in numbers.values()}) > 1]
    place = differing[0] if differing else places[-1]
    return {name: found[place] for name, found in numbers.items()}


class WeightLoader:
    """Loads saved weights into one model after checking them; runs no code of theirs.

    Args:
        model: a built model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.weights.h5"
            model.save_weights(path)
            stored = stored_shapes(path)
        order = [layer.name for layer in model._flatten_layers()]
        places = sorted(stored, key=lambda place: position_in(order, stored[place][0]))
        self.expected = {place: stored[place] for place in places}

    def check(self, path: Path) -> None:
        """Raises InputError if a file is damaged or does not fit the model, with the layer."""
        self.compare(path, stored_shapes(path))

    def load(self, path: Path) -> None:
        """Sets the model's weights to those of a file; raises InputError as `check` does."""
        self.check(path)
        try:
            self.model.load_weights(path)
        except Exception as error:  # Keras's reader raises many types
            raise damaged(path, error) from None

    def compare(self, path: Path, found: dict) -> None:
        """Raises InputError at the first layer whose variables differ from the model's."""
        for place, (layer, shapes) in self.expected.items():
            if place not in found:
                raise InputError(
                    f"Expected weights of the model {self.model.name!r}. Received: {path}, which "
                    f"holds nothing for the layer {layer!r} of shapes {format_shapes(shapes)}."
                )
            if found[place][1] != shapes:
                raise InputError(
                    f"{path} does not fit the model {self.model.name!r}. Expected shapes "
                    f"{format_shapes(shapes)} for the layer {layer!r}. Received: "
                    f"{format_shapes(found[place][1])}."
                )
        extra = [layer for place, (layer, _) in found.items() if place not in self.expected]
        if extra:
            raise InputError(
                f"Expected weights of the model {self.model.name!r}. Received: {path}, which "
                f"holds weights of layers that the model lacks: {format_names(extra)}."
            )


def position_in(order: list[str], layer: str) -> int:
    """The place of a layer in the model; after all layers where it is not among them."""
    return order.index(layer) if layer in order else len(order)


def stored_shapes(path: Path) -> dict[str, tuple[str, list[tuple[int, ...]]]]:
    """Layer name and shapes of variables by place in a file of weights, without the optimizer's.

    Raises:
        InputError: the file cannot be read, or holds anything but arrays in the file itself.
    """
    import h5py

    found: dict[str, tuple[str, list]] = {}

    def collect(name, item):
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer/"):
            return
        place = name.rpartition("/")[0]
        layer = item.parent.attrs.get("name", place.removesuffix("/vars"))
        found.setdefault(place, (str(layer), []))[1].append(tuple(item.shape))

    try:
        with opened(path) as source, h5py.File(source, "r") as file:
            require_self_contained(file, path)
            file.visititems(collect)
    except InputError:
        raise
    except Exception as error:  # h5py and zipfile raise OSError, KeyError, BadZipFile and more
        raise damaged(path, error) from None
    return found


@contextmanager
def opened(path: Path) -> Iterator:
    """The source that h5py opens for a file of weights or a `.keras` archive."""
    if not path.name.endswith(".keras"):
        yield path
        return
    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS_IN_ARCHIVE) as weights:
        yield weights


def damaged(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read."""
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
    return InputError(
        "Expected a file written by save_weights or model.save. Received: "
        f"{path}, which cannot be read ({type(error).__name__}: {reason}): it is damaged, "
        "incomplete or no file of Keras weights. Move it away to record the others."
    )


def format_shapes(shapes: list[tuple[int, ...]]) -> str:
    """Shapes, separated by commas."""
    return ", ".join(map(format_shape, shapes))
