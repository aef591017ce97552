"""Files of saved weights: finding their epochs, and loading them into a model."""

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
from repdyn_keras.text import format_error, format_names, format_shape

ENDINGS = (".weights.h5", ".keras")
EPOCH = re.compile(r"epoch[-_= ]?(\d+)", re.IGNORECASE)
NUMBER = re.compile(r"\d+\.\d+|\d+")
WEIGHTS_IN_ARCHIVE = "model.weights.h5"


@dataclass(frozen=True)
class WeightFiles:
    """The files of saved weights in a folder.

    Attributes:
        files: paths by epoch, in ascending order.
        ignored: names of weight files that contain no epoch.
    """

    files: dict[int, Path]
    ignored: list[str]


def find_weight_files(folder: str | Path) -> WeightFiles:
    """Finds the files of saved weights in a folder and their epochs.

    The epoch is the number after the word "epoch" in the name. If no name contains this word, it is
    the first whole number that differs between the files, as in `resnet18-007-0.53.keras`, or the
    last whole number if none differs. It is the number of epochs trained so far, like `{epoch}` of
    Keras's `ModelCheckpoint`.

    Raises:
        InputError: there is no such folder, it has no saved weights, or two files for one epoch.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(
            "Expected a folder with one file of saved weights per epoch: "
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
                f"Expected one file per epoch in {folder}. Received: two files for epoch {epoch}, "
                f"{files[epoch].name} and {name}. Move one of them away."
            )
        files[epoch] = folder / name
    return WeightFiles(files, [name for name in names if name not in epochs])


def epochs_of(names: list[str]) -> dict[str, int]:
    """The epochs in file names; names without an epoch are left out."""
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
    numbers = {name: values for name, values in numbers.items() if values}
    if not numbers:
        return {}
    positions = range(min(len(values) for values in numbers.values()))
    differing = [p for p in positions if len({values[p] for values in numbers.values()}) > 1]
    position = differing[0] if differing else positions[-1]
    return {name: values[position] for name, values in numbers.items()}


class WeightLoader:
    """Checks saved weights and loads them into a model, without running code from the files.

    Args:
        model: a built model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.weights.h5"
            model.save_weights(path)
            stored = stored_shapes(path)
        order = [layer.name for layer in model._flatten_layers()]
        paths = sorted(stored, key=lambda path_in_file: position_in(order, stored[path_in_file][0]))
        self.expected = {path_in_file: stored[path_in_file] for path_in_file in paths}

    def check(self, path: Path) -> None:
        """Raises InputError if a file is damaged or does not fit the model."""
        self.compare(path, stored_shapes(path))

    def load(self, path: Path) -> None:
        """Sets the model's weights to those of a file; raises InputError as `check` does."""
        self.check(path)
        try:
            self.model.load_weights(path)
        except Exception as error:  # Keras's reader raises many types
            raise damaged(path, error) from None

    def compare(self, path: Path, stored: dict) -> None:
        """Raises InputError at the first layer whose variables differ from the model's."""
        for path_in_file, (layer, shapes) in self.expected.items():
            if path_in_file not in stored:
                raise InputError(
                    f"Expected weights of the model {self.model.name!r}. Received: {path}, which "
                    f"has no weights for the layer {layer!r} of shapes {format_shapes(shapes)}."
                )
            if stored[path_in_file][1] != shapes:
                raise InputError(
                    f"{path} does not fit the model {self.model.name!r}. Expected shapes "
                    f"{format_shapes(shapes)} for the layer {layer!r}. Received: "
                    f"{format_shapes(stored[path_in_file][1])}."
                )
        extra = [
            layer
            for path_in_file, (layer, _) in stored.items()
            if path_in_file not in self.expected
        ]
        if extra:
            raise InputError(
                f"Expected weights of the model {self.model.name!r}. Received: {path}, which "
                f"has weights of layers that the model lacks: {format_names(extra)}."
            )


def position_in(order: list[str], layer: str) -> int:
    """The position of a layer in the model; the number of layers if it is not found."""
    return order.index(layer) if layer in order else len(order)


def stored_shapes(path: Path) -> dict[str, tuple[str, list[tuple[int, ...]]]]:
    """Layer names and shapes of the variables, by path in a file, without the optimizer.

    Raises:
        InputError: the file cannot be read, or is not self-contained.
    """
    import h5py

    shapes: dict[str, tuple[str, list]] = {}

    def collect(name, item):
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer/"):
            return
        path_in_file = name.rpartition("/")[0]
        layer = item.parent.attrs.get("name", path_in_file.removesuffix("/vars"))
        shapes.setdefault(path_in_file, (str(layer), []))[1].append(tuple(item.shape))

    try:
        with opened(path) as source, h5py.File(source, "r") as file:
            require_self_contained(file, path)
            file.visititems(collect)
    except InputError:
        raise
    except Exception as error:  # h5py and zipfile raise OSError, KeyError, BadZipFile and more
        raise damaged(path, error) from None
    return shapes


@contextmanager
def opened(path: Path) -> Iterator:
    """Yields what h5py can open for a `.weights.h5` file or a `.keras` archive."""
    if not path.name.endswith(".keras"):
        yield path
        return
    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS_IN_ARCHIVE) as weights:
        yield weights


def damaged(path: Path, error: Exception) -> InputError:
    """The error for a file that cannot be read."""
    return InputError(
        "Expected a file written by save_weights or model.save. Received: "
        f"{path}, which cannot be read ({format_error(error)}): it is damaged, "
        "incomplete or not a file of Keras weights. Move it away to record the other files."
    )


def format_shapes(shapes: list[tuple[int, ...]]) -> str:
    """Shapes, separated by commas."""
    return ", ".join(map(format_shape, shapes))
