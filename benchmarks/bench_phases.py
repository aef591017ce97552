"""How often drift is called phases, and how often phases are found.

python benchmarks/bench_phases.py             # some five minutes on two cores
python benchmarks/bench_phases.py --count 20 --seed 1

The layers are those of `simulated_layers.py`. A border counts as found if one is within two records
of it, and as exact if it is within one. The last table analyzes the same layers with ten seeds of
the surrogates.
"""

import argparse
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from measuring import machine, print_rows
from simulated_layers import (
    COLOURS,
    DIMENSIONS,
    DRIFTS,
    NOISES,
    RECORDS,
    TRUTHS,
    Layer,
    simulated_layer,
)

from repdyn_keras.measures.phases import find_phases
from repdyn_keras.measures.threads import blas, cores

SEEDS = 10
# Layers of each family and noise share that are analyzed with ten seeds.
SEEDED = 2


def limit_blas() -> None:
    """One thread of BLAS for each process."""
    blas().limit(limits=1, user_api="blas")


def analyzed(case: tuple) -> dict[str, Any]:
    """A simulated layer and its phases."""
    family, noise, seed, surrogate_seed = case
    layer = simulated_layer(family, noise, seed)
    phases = find_phases(layer.gram, layer.epochs, surrogate_seed)
    borders = [border.record for border in phases.borders]
    return {"layer": layer, "borders": borders, "e": phases.distinguishability}


def offsets(result: dict[str, Any]) -> list[int]:
    """Distance, in records, from each true border to the nearest one found; 99 without one."""
    return [
        min([abs(found - border) for found in result["borders"]], default=99)
        for border in result["layer"].borders
    ]


def found(result: dict[str, Any]) -> bool:
    """Whether every true border is found."""
    return max(offsets(result)) <= 2


def divided(result: dict[str, Any]) -> bool:
    """Whether any border is found."""
    return len(result["borders"]) > 0


def share(results: Iterable[dict[str, Any]], property_of: Callable[[dict], bool]) -> str:
    """Share of the results with a property."""
    values = [property_of(result) for result in results]
    return f"{np.mean(values):.2f}" if values else "-"


def rows(
    results: list[dict[str, Any]],
    families: tuple[str, ...],
    property_of: Callable[[dict], bool],
    groups: list[Callable[[Layer], bool]],
) -> list[list]:
    """One row for each family: the share with a property in each group."""
    of_family = {f: [r for r in results if r["layer"].family == f] for f in families}
    return [
        [family, *(share((r for r in of_family[family] if group(r["layer"])), property_of)
                   for group in groups)]
        for family in families
    ]  # fmt: skip


def by_scatter(results: list[dict[str, Any]]) -> Iterator[list]:
    """Rows of the shares found at larger noise, by colour, dimension and number of records."""
    for noise in NOISES[-2:]:
        groups = [
            (f"{'white' if colour == 0 else f'AR({colour})'}, {dimension} dimensions",
             lambda layer, c=colour, d=dimension: (layer.colour, layer.dimension) == (c, d))
            for colour in COLOURS
            for dimension in DIMENSIONS
        ]  # fmt: skip
        groups += [
            (f"any, {t} records", lambda layer, t=t: len(layer.epochs) == t) for t in RECORDS
        ]
        at_noise = [result for result in results if result["layer"].noise == noise]
        for name, group in groups:
            shares = [row[1] for row in rows(at_noise, TRUTHS, found, [group])]
            yield [noise, name, *shares]


def main() -> None:
    """Analyzes all layers and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="layers per family and noise share")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    families = (*DRIFTS, *TRUTHS)
    cases = [
        (family, noise, [options.seed, place, index, draw], 0)
        for place, family in enumerate(families)
        for index, noise in enumerate(NOISES)
        for draw in range(options.count)
    ]
    repeated = [
        (*case[:3], seed) for case in cases if case[2][-1] < SEEDED for seed in range(SEEDS)
    ]
    with multiprocessing.get_context("spawn").Pool(cores(), limit_blas) as pool:
        results = pool.map(analyzed, cases, chunksize=8)
        seeded = pool.map(analyzed, repeated, chunksize=SEEDS)
    print_tables(results, seeded)


def print_tables(results: list[dict[str, Any]], seeded: list[dict[str, Any]]) -> None:
    """Prints the tables.

    Args:
        results: one result for each layer.
        seeded: the results of the same layer with all seeds of the surrogates, layer by layer.
    """
    print(machine("numpy", "scipy"))
    by_noise = [lambda layer, noise=noise: layer.noise == noise for noise in NOISES]
    noises = [f"noise {noise}" for noise in NOISES]
    print("\nDrift called phases, share of layers:\n")
    print_rows(["drift", *noises], rows(results, DRIFTS, divided, by_noise))
    print("\nAll borders found, share of layers:\n")
    print_rows(["phases", *noises], rows(results, TRUTHS, found, by_noise))
    print("\nAll borders found, by noise, scatter and number of records:\n")
    print_rows(["noise", "scatter", *TRUTHS], list(by_scatter(results)))

    with_truth = [result for result in results if result["layer"].family in TRUTHS]
    near = [offset for result in with_truth for offset in offsets(result) if offset <= 2]
    extra = [len(result["borders"]) > len(result["layer"].borders) for result in with_truth]
    steps = [result for result in results if result["layer"].family == "step"]
    means = [np.mean([r["e"] for r in steps if r["layer"].noise == noise]) for noise in NOISES]
    groups_of_seeds = [seeded[i : i + SEEDS] for i in range(0, len(seeded), SEEDS)]
    same = [len({tuple(r["borders"]) for r in group}) == 1 for group in groups_of_seeds]
    print("\nOther figures:\n")
    print_rows(
        ["what", "value"],
        [
            ["found borders that are exact within one record", float(np.mean(np.less(near, 2)))],
            ["layers with more borders than there are", float(np.mean(extra))],
            *(
                [f"mean distinguishability of a step of 0.2, noise {noise}", float(mean)]
                for noise, mean in zip(NOISES, means, strict=True)
            ),
            [f"layers (of {len(same)}) whose borders are the same with {SEEDS} seeds",
             float(np.mean(same))],
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
