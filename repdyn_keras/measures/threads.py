"""How many threads compute: those of BLAS, or several computations side by side."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

# What computations side by side may hold together, in bytes.
MEMORY_BYTES = 1 << 28


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """A single thread in each call of BLAS inside the block."""
    with blas().limit(limits=1, user_api="blas"):
        yield


@cache
def blas():
    """The controller of the BLAS libraries that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def side_by_side(function: Callable, items: Sequence, size: int) -> Iterator:
    """A function's results in the order of the items, several of which are computed at a time.

    Each by one thread from its beginning to its end, passes over memory included, where BLAS
    alone would share only its products among the cores.

    Args:
        function: what is done with each item.
        items: what it is done with.
        size: bytes that the function holds while it works on an item.
    """
    threads = cores()
    if threads > min(len(items), MEMORY_BYTES // size):
        yield from map(function, items)
        return
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
