"""All records of a run, as measures read them."""

import re

import numpy as np

from repdyn_keras.config import NETWORKS
from repdyn_keras.errors import InputError
from repdyn_keras.measures.contract import Dims
from repdyn_keras.records import RunFolder
from repdyn_keras.text import format_names


class RecordSeries:
    """The records of a run folder; implements `measures.contract.Series`.

    Args:
        folder: a folder with records.

    Attributes:
        variables: what was computed of the records so far, each (dims, array).

    Raises:
        InputError: a record is unreadable or of another recording.
    """

    def __init__(self, folder: RunFolder):
        folder.require_records()
        self.folder = folder
        self.constants = folder.constants()
        self.layers: list[str] = self.constants["layer"].values.tolist()
        self.epochs = folder.epochs()
        self.variables: dict[str, tuple[Dims, np.ndarray]] = {}
        for epoch in self.epochs:
            check_record(folder, epoch, self.layers, self.constants.attrs["images_hash"])

    @property
    def blocks(self) -> np.ndarray:
        """(layer,) whether a layer is a block of the network."""
        if "is_block" in self.constants:
            return self.constants["is_block"].values.astype(bool)
        # Earlier versions did not record it.
        model = self.folder.config().get("model")
        pattern = NETWORKS.find(model).blocks if model else None
        return np.array(
            [
                name != self.layers[-1] and (pattern is None or bool(re.fullmatch(pattern, name)))
                for name in self.layers
            ]
        )

    def recorded(self, *names: str) -> dict[str, np.ndarray]:
        """Variables of the records, stacked along a first dimension `epoch`."""
        return self.folder.series(self.epochs, names)

    def fingerprints(self, layers: slice, pairs: slice) -> np.ndarray:
        """(epoch, layer, pair) a part of the fingerprints."""
        return self.folder.fingerprints(self.epochs, layers, pairs)

    @property
    def fingerprint_length(self) -> int:
        """Number of pairs in a fingerprint."""
        return self.folder.fingerprint_length(self.epochs[0])

    def computed(self, name: str) -> np.ndarray | None:
        """A variable that was computed of the records, or None."""
        return self.variables[name][1] if name in self.variables else None


def check_record(folder: RunFolder, epoch: int, layers: list[str], images: str) -> None:
    """Raises InputError unless a record has the layers and images of the folder's constants."""
    stored = folder.recorded_layers(epoch)
    if stored != layers:
        raise InputError(
            f"Expected records of the layers {format_names(layers, limit=20)}. Received: "
            f"{folder.record_file(epoch)}, which holds {format_names(stored, limit=20)}. It is of "
            "another recording: move it away."
        )
    if folder.recorded_images_hash(epoch) != images:
        raise InputError(
            f"Expected records of the images of {folder.constants_file}. Received: "
            f"{folder.record_file(epoch)}, which is of other images. It is of another recording: "
            "move it away."
        )
