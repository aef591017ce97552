"""What the benchmarks share: repeated timings in turn, memory of a process of its own, tables."""

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path


def in_turn(functions: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Seconds of each function by name, all called once before and then `repeats` times in turn.

    In turn, so that what else the machine does falls on all of them.
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
    """Median of the ratios of calls that followed each other."""
    return statistics.median(a / b for a, b in zip(seconds, base, strict=True))


def in_process(function: Callable, *arguments):
    """What a function returns in a process of its own, started fresh."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def peak_mib() -> float:
    """Most memory that this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine(*packages: str) -> str:
    """The processor, its cores and the versions that a table is of."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    found = ", ".join(f"{name} {version(name)}" for name in packages)
    python = platform.python_version()
    return f"{processor}, {len(os.sched_getaffinity(0))} cores; Python {python}, {found}"


def print_table(header: list[str], rows: list[list], packages: list[str]) -> None:
    """Prints the machine and a table in Markdown; numbers with three figures."""
    print(machine(*packages), end="\n\n")
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(map(as_text, row)) + " |", flush=True)


def as_text(value) -> str:
    """A cell of a table."""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
