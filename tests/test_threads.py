"""Parallel computations: their order, their memory, and BLAS threads."""

import os
import threading

import numpy as np
import pytest

from repdyn_keras.errors import InputError
from repdyn_keras.measures import cka as cka_module
from repdyn_keras.measures import threads
from repdyn_keras.measures.cka import cka_matrix

pytestmark = pytest.mark.without_keras


def blas_threads():
    """Threads of each BLAS library that is loaded."""
    return [each.num_threads for each in threads.blas().select(user_api="blas").lib_controllers]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """Two cores, as the barrier of the tests requires, and more than one BLAS thread."""
    monkeypatch.setattr(threads, "cores", lambda: 2)
    with threads.blas().limit(limits=2, user_api="blas"):
        yield


def test_two_items_run_in_parallel_and_in_order_with_one_blas_thread_each():
    meeting = threading.Barrier(2, timeout=20)
    seen = set()

    def function(item):
        meeting.wait()
        seen.update(blas_threads())
        return item**2

    # Two of these fit the memory exactly.
    half = threads.MEMORY_BYTES // 2
    for count, expected in ((6, [0, 1, 4, 9, 16, 25]), (2, [0, 1])):
        assert set(blas_threads()) == {2}
        assert list(threads.parallel_map(function, range(count), half)) == expected
        assert seen == {1}
    assert set(blas_threads()) == {2}


def test_single_items_and_large_items_run_sequentially():
    for count, size in ((4, threads.MEMORY_BYTES // 2 + 1), (1, 1)):
        inside = list(
            threads.parallel_map(
                lambda _: (threading.get_ident(), set(blas_threads())), range(count), size
            )
        )
        assert inside == [(threading.get_ident(), {2})] * count


def test_errors_are_raised_and_blas_threads_are_restored():
    sound = np.random.default_rng(1).normal(size=(8, 3))
    with pytest.raises(InputError, match=r"shape \(8,\)"):
        cka_matrix([sound, np.arange(8.0), sound])
    assert set(blas_threads()) == {2}


def test_a_matrix_computed_in_parallel_is_identical_and_its_memory_is_known(monkeypatch):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(64, 30))
    x = [(common + 0.2 * k * rng.normal(size=(64, 30))).astype(np.float32) for k in range(5)]
    sizes = []

    def spied(function, items, size):
        sizes.append(size)
        return threads.parallel_map(function, items, size)

    monkeypatch.setattr(cka_module, "parallel_map", spied)
    together = cka_matrix(x, batch_size=32)
    # A batch of features and two of its Gram matrices, in float32.
    assert sizes == [4 * (32 * 30 + 2 * 32 * 32)]
    monkeypatch.setattr(threads, "MEMORY_BYTES", 0)
    np.testing.assert_allclose(together, cka_matrix(x, batch_size=32), atol=1e-6)
    assert 0.1 < together[0, 4] < 0.9


def test_cores_counts_those_that_this_process_may_use(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert threads.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    for count, expected in ((7, 7), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda count=count: count)
        assert threads.cores() == expected
