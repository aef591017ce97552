"""The states of global random generators, which a record does not change."""

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np


class GlobalGenerators:
    """The global random generators that the passes of a model draw from.

    Other threads, such as those that load data, may draw from a generator while a state is
    measured. Generators that the first block did not draw from are therefore not touched in later
    ones.

    Args:
        more: other generators than those of Python, NumPy and the backend.
    """

    def __init__(self, more: Iterable["GlobalGenerator"] = ()):
        self._used = [*global_generators(), *more]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Starts the generators with fixed seeds inside the block, and restores them."""
        before = [generator.state() for generator in self._used]
        for generator in self._used:
            generator.seed()
        seeded = [comparable(generator.state()) for generator in self._used]
        try:
            yield
        finally:
            after = [comparable(generator.state()) for generator in self._used]
            for generator, state in zip(self._used, before, strict=True):
                generator.restore(state)
        pairs = zip(self._used, seeded, after, strict=True)
        self._used = [generator for generator, one, other in pairs if one != other]


class GlobalGenerator(NamedTuple):
    """Functions that read, seed and restore the state of a global random generator."""

    state: Callable[[], Any]
    seed: Callable[[], Any]
    restore: Callable[[Any], Any]


def global_generators() -> list[GlobalGenerator]:
    """The global random generators of Python, NumPy and the backend."""
    found = [
        GlobalGenerator(random.getstate, partial(random.seed, 0), random.setstate),
        GlobalGenerator(np.random.get_state, partial(np.random.seed, 0), np.random.set_state),
    ]
    of_backend = {"tensorflow": tensorflow_generator, "torch": torch_generator}
    make = of_backend.get(keras.backend.backend())
    return found if make is None else [*found, make()]


def comparable(state: Any) -> bytes:
    """The state of a generator as bytes, which are equal for equal states."""
    return b"".join(np.asarray(part).tobytes() for part in keras.tree.flatten(state))


def tensorflow_generator() -> GlobalGenerator:
    """The generator that seeds the random operations of tensorflow in eager mode."""
    from tensorflow.python.eager.context import context

    def state():
        # The attribute exists from the first random operation or seed.
        generator = vars(context()).get("_rng")
        return None if generator is None else generator.getstate()

    def restore(before):
        if before is None:
            del context()._rng
        else:
            context()._rng.setstate(before)

    def seed():
        if "_rng" not in vars(context()):
            context()._rng = random.Random()
        context()._rng.seed(0)

    return GlobalGenerator(state, seed, restore)


def torch_generator() -> GlobalGenerator:
    """The generators of torch, on all devices."""
    import torch

    def state():
        on_gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return [torch.get_rng_state(), *on_gpus]

    def restore(before):
        torch.set_rng_state(before[0])
        if len(before) > 1:
            torch.cuda.set_rng_state_all(before[1:])

    return GlobalGenerator(state, partial(torch.manual_seed, 0), restore)
