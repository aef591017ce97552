"""Checks files of saved weights and loads them into a model."""

import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import keras

from repdyn_keras.errors import InputError
from repdyn_keras.recording.checkpoints.weight_files import SHARD, SHARDED, shards_of
from repdyn_keras.records.netcdf import require_self_contained
from repdyn_keras.text import format_error, format_names, format_shape

if TYPE_CHECKING:
    import h5py

WEIGHTS_IN_ARCHIVE = "model.weights.h5"
# Names of variables as the legacy HDF5 format stores them: "conv2d/kernel:0", "conv2d/kernel_1:0".
VARIABLE_NAME = re.compile(r"([^/:]+?)(_\d+)?(:\d+)?$")


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
        if is_legacy(path):
            self.legacy_pairs(path)
        else:
            self.compare(path, stored_shapes(path))

    def load(self, path: Path) -> None:
        """Sets the model's weights to those of a file; raises InputError as `check` does."""
        if is_legacy(path):
            self.load_legacy(path)
            return
        self.check(path)
        try:
            self.model.load_weights(path)
        except Exception as error:  # Keras's reader raises many types
            raise damaged(path, error) from None

    def load_legacy(self, path: Path) -> None:
        """Sets the model's weights to those of a file in the legacy HDF5 format."""
        pairs = self.legacy_pairs(path)
        with opened_hdf5(path) as file:
            group = legacy_group(file)
            values = [group[name][()] for _, name in pairs]
        for (variable, _), value in zip(pairs, values, strict=True):
            variable.assign(value)
        for layer in self.model.layers:
            # As Keras does: some layers derive constants from their weights.
            if hasattr(layer, "finalize_state") and layer.weights:
                layer.finalize_state()

    def legacy_pairs(self, path: Path) -> list[tuple[keras.Variable, str]]:
        """The model's variables and their names in a file in the legacy HDF5 format.

        Keras assigns the layers of such a file by their order alone. Layers are matched by name
        here if the file has the names of the model, and the names of variables have to agree, since
        their order depends on which layers were trainable.

        Raises:
            InputError: the file is damaged or does not fit the model.
        """
        layers = {
            layer.name: layer.trainable_weights + layer.non_trainable_weights
            for layer in self.model.layers
            if layer.weights
        }
        if sum(map(len, layers.values())) != len(self.model.weights):
            raise InputError(
                "Expected .weights.h5 files for a model with weights outside its layers. Received: "
                f"{path}, in the legacy HDF5 format."
            )
        with opened_hdf5(path) as file:
            stored = legacy_shapes(legacy_group(file))
        pairs = []
        names = matched_layers(list(layers), list(stored), self.model.name, path)
        for (layer, variables), name in zip(layers.items(), names, strict=True):
            shapes = [shape for _, shape in stored[name]]
            expected = [tuple(variable.shape) for variable in variables]
            if shapes != expected:
                raise InputError(
                    f"{path} does not fit the model {self.model.name!r}. Expected shapes "
                    f"{format_shapes(expected)} for the layer {layer!r}. Received: "
                    f"{format_shapes(shapes)} in the layer {name!r}."
                )
            kinds = [variable_name(stored_name) for stored_name, _ in stored[name]]
            own = [variable_name(variable.name) for variable in variables]
            if kinds != own:
                raise InputError(
                    f"Expected the weights {', '.join(own)} for the layer {layer!r} in this order. "
                    f"Received: {path}, with {', '.join(kinds)}. If other layers were trainable "
                    "when it was saved, build the model with the same ones."
                )
            stored_names = [f"{name}/{stored_name}" for stored_name, _ in stored[name]]
            pairs += list(zip(variables, stored_names, strict=True))
        return pairs

    def compare(self, path: Path, stored: dict) -> None:
        """Raises InputError at the first layer whose variables differ from the model's."""
        for path_in_file, (layer, shapes) in self.expected.items():
            if path_in_file not in stored:
                raise InputError(
                    f"Expected weights of the model {self.model.name!r}. Received: {path}, which "
                    f"has no weights for the layer {layer!r} of shapes {format_shapes(shapes)}."
                    f"{shard_remedy(path)}"
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

    Args:
        path: a `.weights.h5` or `.keras` file, or the index of sharded weights.

    Raises:
        InputError: the file or a shard cannot be read, or is not self-contained.
    """
    files = [path]
    if path.name.endswith(SHARDED):
        files = [path.parent / name for name in shards_of(path)]
    found: dict[str, tuple[str, dict[str, tuple[int, ...]]]] = {}
    for each in files:
        with opened_hdf5(each) as file:
            collect_shapes(file, found)
    return {
        path_in_file: (layer, [shapes[name] for name in sorted(shapes)])
        for path_in_file, (layer, shapes) in found.items()
    }


def collect_shapes(file: "h5py.File", found: dict) -> None:
    """Adds layer name and shapes by variable, by path in the file, to `found`."""
    import h5py

    def collect(name, item):
        if not isinstance(item, h5py.Dataset) or name.startswith("optimizer/"):
            return
        path_in_file, _, variable = name.rpartition("/")
        layer = item.parent.attrs.get("name", path_in_file.removesuffix("/vars"))
        found.setdefault(path_in_file, (str(layer), {}))[1][variable] = tuple(item.shape)

    file.visititems(collect)


@contextmanager
def opened_hdf5(path: Path) -> Iterator["h5py.File"]:
    """Opens the weights of a file; any error in the block becomes InputError.

    Raises:
        InputError: the file cannot be read, or is not self-contained.
    """
    import h5py

    try:
        with opened(path) as source, h5py.File(source, "r") as file:
            require_self_contained(file, path)
            yield file
    except InputError:
        raise
    except Exception as error:  # h5py and zipfile raise OSError, KeyError, BadZipFile and more
        raise damaged(path, error) from None


@contextmanager
def opened(path: Path) -> Iterator:
    """Yields what h5py can open for a file of weights or a `.keras` archive."""
    if not path.name.endswith(".keras"):
        yield path
        return
    with zipfile.ZipFile(path) as archive, archive.open(WEIGHTS_IN_ARCHIVE) as weights:
        yield weights


# The legacy HDF5 format, of `model.save("x.h5")` and of `save_weights` before Keras 2.13.


def is_legacy(path: Path) -> bool:
    """Whether a file has the legacy HDF5 format.

    Raises:
        InputError: it has the ending of that format, but not its content.
    """
    if path.name.endswith((".keras", SHARDED)):
        return False
    with opened_hdf5(path) as file:
        has_layers = lists_layers(legacy_group(file))
    if not has_layers and not path.name.endswith(".weights.h5"):
        raise InputError(
            f"Expected a legacy HDF5 file, as its ending says. Received: {path}, which has no list "
            "of layers. If save_weights wrote it, rename it so that it ends in .weights.h5."
        )
    return has_layers


def legacy_group(file: "h5py.File") -> "h5py.Group":
    """The group of the layers in a file in the legacy format, which may hold a whole model."""
    return file["model_weights"] if "model_weights" in file and not lists_layers(file) else file


def lists_layers(group: "h5py.Group") -> bool:
    """Whether a group lists its layers, as the legacy format does."""
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def listed_names(group: "h5py.Group", attribute: str) -> list[str]:
    """Names in an attribute, which Keras divides into several if they are many."""
    keys = [attribute] if attribute in group.attrs else []
    keys += [key for i in range(len(group.attrs)) if (key := f"{attribute}{i}") in group.attrs]
    values = [value for key in keys for value in group.attrs[key]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def legacy_shapes(group: "h5py.Group") -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Names and shapes of the variables of each layer that has some."""
    layers = {
        layer: [
            (name, tuple(group[layer][name].shape))
            for name in listed_names(group[layer], "weight_names")
        ]
        for layer in listed_names(group, "layer_names")
    }
    return {layer: variables for layer, variables in layers.items() if variables}


def matched_layers(own: list[str], stored: list[str], model: str, path: Path) -> Sequence[str]:
    """The layers of a file for the layers of a model, in the order of the model.

    Args:
        own: names of the model's layers.
        stored: names of the layers in the file.
        model: name of the model, for the error message.
        path: path of the file, for the error message.

    Raises:
        InputError: the layers differ in number, or common names are at different positions.
    """
    if set(own) == set(stored):
        return own
    missing, extra = set(own) - set(stored), set(stored) - set(own)
    if len(own) != len(stored):
        raise InputError(
            f"Expected the {len(own)} layers with weights of the model {model!r}. Received: "
            f"{path}, with {len(stored)}; missing: {format_names(sorted(missing)) or 'none'}; "
            f"additional: {format_names(sorted(extra)) or 'none'}."
        )
    # Keras numbers the layers of a session, so that "dense_1" may be the "dense" of another one.
    bases = [[re.sub(r"_\d+$", "", name) for name in names] for names in (own, stored)]
    pairs = list(zip(own, stored, strict=True))
    if bases[0] != bases[1] and any(a != b and (a in stored or b in own) for a, b in pairs):
        raise InputError(
            f"Expected the layers of the model {model!r} in its order: {format_names(own)}. "
            f"Received: {path}, with {format_names(stored)}. Rename the layers of the model as in "
            "the file."
        )
    return stored


def variable_name(name: str) -> str:
    """The name of a variable without its layer and its number: "kernel"."""
    match = VARIABLE_NAME.search(name)
    return match[1] if match else name


def shard_remedy(path: Path) -> str:
    """A remedy if the name is that of a shard of sharded weights."""
    match = SHARD.fullmatch(path.name)
    if not match:
        return ""
    return f" If it is a shard, copy its index {match['base']}{SHARDED} beside it."


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
