"""Batches of the data that Keras trains on, read without changing the training.

Whoever reads a shuffled source once more draws from its random generator, so that the training
afterwards has other batches. Here a `tf.data.Dataset` is read without the operations that shuffle
it anew in every epoch and without its caches, which would keep that order. A `DataLoader` is read
as a copy. The states of the global random generators, and of those that a data set or a sampler
holds, are restored.
"""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np

from repdyn_keras.errors import InputError
from repdyn_keras.recording.generators import GlobalGenerators, torch_generator
from repdyn_keras.text import format_error

# Operations of a graph of tf.data that change the order of elements, that keep them, and that
# choose among them by their order.
SHUFFLES = ("ShuffleDataset", "ShuffleDatasetV2", "ShuffleDatasetV3")
CACHES = ("CacheDataset", "CacheDatasetV2", "SnapshotDataset", "SnapshotDatasetV2")
CHOICES = ("TakeDataset", "SkipDataset", "ShardDataset")
# What tf.data does about the state outside of a graph, such as that of random generators: nothing.
IGNORE_STATE = 1


@dataclass(frozen=True)
class Source:
    """Data of a known number of batches.

    Attributes:
        kind: what the data is, for messages.
        data: the data.
        batches: number of batches.
    """

    kind: str
    data: Any
    batches: int

    def read(self) -> Iterator[Any]:
        """The batches, in any order; the random generators are as before when all are read."""
        if self.kind == "tf.data.Dataset":
            with GlobalGenerators().restored():
                yield from without_shuffling(self.data)
            return
        # A DataLoader draws from the generator of torch on every backend.
        is_other = "torch" in sys.modules and keras.backend.backend() != "torch"
        generators = GlobalGenerators([torch_generator()] if is_other else [])
        with generators.restored(), generators_restored(self.data):
            if self.kind == "PyDataset":
                for index in range(self.batches):
                    yield self.data[index]
            else:
                yield from without_workers_kept(self.data)


def source_of(data: Any, name: str) -> Source:
    """Data as a source of batches.

    Args:
        data: a `tf.data.Dataset`, a `keras.utils.PyDataset` or a torch `DataLoader`.
        name: its name in messages.

    Raises:
        InputError: it is none of these, or does not tell its number of batches.
    """
    kind, batches = kind_of(data), None
    if kind == "tf.data.Dataset":
        # -1 is infinite, -2 unknown.
        batches = int(data.cardinality())
    elif kind == "PyDataset":
        with suppress(NotImplementedError):
            batches = data.num_batches
    elif kind == "DataLoader":
        with suppress(TypeError, NotImplementedError):
            batches = len(data)
    else:
        raise InputError(
            f"Expected {name} as a tf.data.Dataset, a keras.utils.PyDataset or a torch DataLoader. "
            f"Received: an object of type {type(data).__name__}. Give arrays to "
            "RepresentationRecorder(folder, images, labels)."
        )
    if batches is None or batches < 0:
        length = "infinitely many" if batches == -1 else "an unknown number of"
        raise InputError(
            f"Expected {name} with a known number of batches, for a draw in which every sample has "
            f"the same chance. Received: a {kind} with {length} batches. {remedy(kind)}"
        )
    if batches == 0:
        raise InputError(f"Expected {name} with samples. Received: a {kind} without batches.")
    return Source(kind, data, batches)


def kind_of(data: Any) -> str:
    """The kind of a source; empty for other objects."""
    if isinstance(data, keras.utils.PyDataset):
        return "PyDataset"
    # Objects of a package exist only where it was imported.
    tensorflow, loading = sys.modules.get("tensorflow"), sys.modules.get("torch.utils.data")
    if tensorflow is not None and isinstance(data, tensorflow.data.Dataset):
        return "tf.data.Dataset"
    return "DataLoader" if loading and isinstance(data, loading.DataLoader) else ""


def remedy(kind: str) -> str:
    """How to make the number of batches known."""
    if kind == "tf.data.Dataset":
        return (
            "Give the dataset before repeat(), or with "
            ".apply(tf.data.experimental.assert_cardinality(batches))."
        )
    if kind == "PyDataset":
        return "Define its num_batches."
    return "Give a DataLoader of a dataset with a length."


def without_shuffling(data) -> Any:
    """The elements of a `tf.data.Dataset` in the order before they are shuffled.

    Raises:
        InputError: which elements these are depends on the shuffling; or the graph of the dataset
            cannot be copied.
    """
    import tensorflow as tf

    # No public function returns the graph of a dataset.
    options = {"external_state_policy": IGNORE_STATE, "strip_device_assignment": False}
    try:
        serialized = tf.raw_ops.DatasetToGraphV2(input_dataset=data._variant_tensor, **options)
        graph = tf.compat.v1.GraphDef.FromString(serialized.numpy())
        del serialized
        bypass(graph)
        variant = tf.raw_ops.DatasetFromGraph(graph_def=graph.SerializeToString())
    except (tf.errors.OpError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            "Expected a tf.data.Dataset whose graph can be copied, so that reading it does not "
            f"change its order in the training. Received: one that cannot: {format_error(error)}. "
            "Give arrays to RepresentationRecorder(folder, images, labels)."
        ) from error
    return tf.data.experimental.from_variant(variant, data.element_spec)


def bypass(graph) -> None:
    """Removes what shuffles anew in every epoch, and caches, from a graph of tf.data."""
    nodes = {node.name: node for node in graph.node}
    shuffled = {node.name for node in graph.node if shuffles_anew(node)}
    removed = shuffled | {node.name for node in graph.node if node.op in CACHES}

    def before(name: str) -> str:
        while name in removed:
            name = nodes[name].input[0]
        return name

    def is_shuffled(name: str) -> bool:
        found = [name]
        while name in nodes and nodes[name].input:
            name = nodes[name].input[0]
            found.append(name)
        return not shuffled.isdisjoint(found)

    for node in graph.node:
        if node.op in CHOICES and is_shuffled(node.name):
            raise InputError(
                "Expected data of the same samples in every epoch. Received: a tf.data.Dataset "
                "with take, skip or shard behind a shuffle, which chooses other samples each time "
                "it is read. Use shuffle(..., reshuffle_each_iteration=False) there."
            )
        node.input[:] = [before(name) for name in node.input]


def shuffles_anew(node) -> bool:
    """Whether an operation puts elements into another order each time they are read."""
    if node.op not in SHUFFLES:
        return False
    again = node.attr.get("reshuffle_each_iteration")
    return again is None or again.b


def without_workers_kept(loader) -> Any:
    """A copy of a DataLoader whose workers, and what they have drawn, end with the reading."""
    copied = copy.copy(loader)
    # A DataLoader rejects new values of these attributes.
    vars(copied).update(persistent_workers=False, _iterator=None)
    return copied


@contextmanager
def generators_restored(data) -> Iterator[None]:
    """Restores the random generators that data, its data set and its samplers hold."""
    owners = [data]
    for name in ("dataset", "sampler", "batch_sampler"):
        owners += [getattr(owner, name) for owner in tuple(owners) if hasattr(owner, name)]
    held = [value for owner in owners for value in getattr(owner, "__dict__", {}).values()]
    restores = [restore for value in held if (restore := restore_of(value)) is not None]
    try:
        yield
    finally:
        for restore in restores:
            restore()


def restore_of(generator) -> Callable[[], Any] | None:
    """A function that restores the present state of a random generator; None for other objects."""
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return partial(setattr, bits, "state", bits.state)
    if isinstance(generator, keras.random.SeedGenerator):
        state = generator.state
        return partial(state.assign, keras.ops.copy(state.value))
    for get, put in (("getstate", "setstate"), ("get_state", "set_state")):
        if hasattr(generator, get) and hasattr(generator, put):
            return partial(getattr(generator, put), getattr(generator, get)())
    return None
