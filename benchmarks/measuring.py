"""Helpers of the benchmarks: alternating timings, separate processes, peak memory, tables."""

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path


def in_turn(functions: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function by name: one untimed call of each, then `repeats` rounds.

    The functions alternate, so that other load on the machine affects all of them alike.
    """
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].append(seconds_of(function))
    return seconds


def seconds_of(function: Callable) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def ratio(seconds: list[float], base: list[float]) -> float:
    """Median ratio of two functions' calls in the same round."""
    return statistics.median(a / b for a, b in zip(seconds, base, strict=True))


def in_process(function: Callable, *arguments):
    """Calls a function in a new process; returns its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_mib() -> float:
    """Peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(*packages: str) -> str:
    """The processor, its cores, and the versions of Python and packages."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    found = ", ".join(f"{name} {version(name)}" for name in packages)
    python = platform.python_version()
    return f"{processor}, {len(os.sched_getaffinity(0))} cores; Python {python}, {found}"


def print_table(header: list[str], rows: Iterable[list], packages: list[str]) -> None:
    """Prints the machine and a Markdown table; numbers have three significant digits."""
    print(machine(*packages), end="\n\n")
    print_rows(header, rows)


def print_rows(header: list[str], rows: list[list]) -> None:
    """Prints a Markdown table; numbers have three significant digits."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(map(as_text, row)) + " |", flush=True)


def as_text(value) -> str:
    """A value as a cell of a table."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
