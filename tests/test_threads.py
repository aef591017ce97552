"""Computations side by side: their order, their memory, and BLAS's threads."""

import threading

import numpy as np
import pytest

from repdyn_keras.errors import InputError
from repdyn_keras.measures import threads
from repdyn_keras.measures.cka import cka, cka_matrix

pytestmark = pytest.mark.without_keras


def blas_threads():
    """Threads of each BLAS library that is loaded."""
    return [each.num_threads for each in threads.blas().select(user_api="blas").lib_controllers]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch):
    """As many cores as the tests' meeting point waits for, and more than one thread of BLAS."""
    monkeypatch.setattr(threads, "cores", lambda: 2)
    with threads.blas().limit(limits=2, user_api="blas"):
        yield


def test_two_are_computed_at_a_time_and_come_in_order():
    meeting = threading.Barrier(2, timeout=20)

    def function(item):
        meeting.wait()
        return item**2

    assert list(threads.side_by_side(function, range(6), 1)) == [0, 1, 4, 9, 16, 25]


def test_what_would_hold_more_than_the_limit_is_computed_one_after_another():
    names = set()
    list(
        threads.side_by_side(
            lambda _: names.add(threading.get_ident()), range(4), threads.MEMORY_BYTES // 2 + 1
        )
    )
    assert names == {threading.get_ident()}


def test_blas_has_one_thread_meanwhile_and_its_own_number_afterwards():
    assert set(blas_threads()) == {2}
    inside = list(threads.side_by_side(lambda _: blas_threads(), range(4), 1))
    assert {count for counts in inside for count in counts} == {1}
    assert set(blas_threads()) == {2}


def test_an_error_comes_through_and_blas_is_as_before():
    representations = [np.eye(8), np.arange(8.0), np.eye(8)]
    with pytest.raises(InputError, match=r"shape \(8,\)"):
        cka_matrix(representations)
    assert set(blas_threads()) == {2}


def test_a_matrix_is_the_same_whatever_computes_it(monkeypatch):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(64, 30))
    x = [(common + 0.2 * k * rng.normal(size=(64, 30))).astype(np.float32) for k in range(5)]
    together = cka_matrix(x, batch_size=32)
    monkeypatch.setattr(threads, "MEMORY_BYTES", 0)
    alone = cka_matrix(x, batch_size=32)
    np.testing.assert_allclose(together, alone, atol=1e-6)
    pairs = [[cka(a, b, batch_size=32) for b in x] for a in x]
    np.testing.assert_allclose(together, pairs, atol=1e-6)
    assert 0.1 < together[0, 4] < 0.9
