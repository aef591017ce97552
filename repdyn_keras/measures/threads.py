"""Threads: limiting those of BLAS, and running computations in parallel."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

# Maximum memory of all parallel computations together, in bytes.
MEMORY_BYTES = 1 << 28


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limits BLAS to one thread inside the block."""
    with blas().limit(limits=1, user_api="blas"):
        yield


@cache
def blas():
    """The controller of the loaded BLAS libraries."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def parallel_map(function: Callable, items: Sequence, size: int) -> Iterator:
    """Results of a function in the order of the items, with several calls in parallel.

    Each call runs in one thread, so that passes over memory also use all cores. BLAS would
    distribute only matrix products over the cores.

    Args:
        function: called with each item.
        items: the arguments.
        size: memory that one call needs, in bytes.
    """
    threads = cores()
    if threads > min(len(items), MEMORY_BYTES // size):
        yield from map(function, items)
        return
    with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
