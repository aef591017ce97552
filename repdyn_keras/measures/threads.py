"""Threads: those of BLAS, or several computations in parallel."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

# Bytes that parallel computations may hold together.
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
    """Results of a function in the order of its items, several computed at a time.

    One thread computes an item from beginning to end, passes over memory included. BLAS alone
    would distribute only its matrix products over the cores.

    Args:
        function: called with each item.
        items: its arguments.
        size: bytes that a call of the function holds.
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
