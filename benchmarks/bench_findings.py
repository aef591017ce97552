"""How often are the verdicts on simulated studies right?

python benchmarks/bench_findings.py [--studies 400] [--seeds 10] [--seed 0] [--summary FILE]

A study has four cells of so many seeds. The number of a run that a claim compares has a part that
is common to the runs of a seed, one of the architecture and seed, one of the run, and the mean of
six parts of its blocks; the last two have the same variance. The differences between the sides of
a row have the deviation `deviation`: a default, or with `--summary` that of the rows of a real
study's `summary.nc`. All parts are normal, or from Student's t with 4 degrees of freedom scaled to
the same variance. The three readings share 4/5 of the variance of each part.

"none": share of studies without an effect in which any row is supported or contradicted (target: at
most 5%), also with deviations of five times the size, which make large differences by chance.
Other rows have an effect of twice the smallest of interest, in this row alone or in all rows at
once: "supported" is the share of studies in which the row is (target: at least 80%), "others" the
share in which any row without an effect is supported or contradicted. A share of blocks cannot
exceed 1, so the effect at the perfect fit is 0.75: a border of every block is at the perfect fit,
and no block has another.
"""

import argparse

import numpy as np
import xarray as xr
from measuring import machine, print_rows
from simulated_studies import simulated_summary

from repdyn_keras.study import run_values
from repdyn_keras.study.claims import CLAIMS
from repdyn_keras.study.findings import findings, tested_rows
from repdyn_keras.study.paired_runs import READINGS, PairedRuns
from repdyn_keras.study.verdicts import CONTRADICTED, SUPPORTED

BLOCKS = 6
OWN_VARIANCE = 0.2
CHANCE, FIT_EFFECT = 0.25, 0.75
# Which of the numbers a row compares, and the signs with which an effect enters the cells
# "resnet sgd", "resnet adam", "vit sgd", "vit adam".
BETWEEN = (-0.5, -0.5, 0.5, 0.5)
OPTIMIZER = (0.5, -0.5, 0.5, -0.5)
EFFECTS = {
    "resnet-sgd-state": (0.5, -0.5, 0, 0),
    "resnet-sgd-restlessness": (0.5, -0.5, 0, 0),
    "vit-sgd-state": (0, 0, 0.5, -0.5),
    "vit-sgd-restlessness": (0, 0, 0.5, -0.5),
    "vit-state": BETWEEN,
    "vit-restlessness": BETWEEN,
    "memorization-sgd-state": OPTIMIZER,
    "memorization-sgd-restlessness": OPTIMIZER,
    "vit-synchronization": BETWEEN,
    "vit-perfect-fit": (0, 0, 1, 1),
    "depth-change": (1, 1, 1, 1),
}
ROWS = tuple(EFFECTS)
TESTED = {claim.name: claim for claim in CLAIMS if claim.name in EFFECTS}
# Deviations of the differences between seeds, where no summary is given.
DEVIATIONS = {name: claim.smallest_effect for name, claim in TESTED.items()}
DEVIATIONS |= {"vit-synchronization": 0.02, "vit-perfect-fit": 0.15, "depth-change": 0.15}
# So large that the smallest effects of interest rule out little.
WIDE = 5
RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def deviations_of(file: str) -> dict[str, float]:
    """The deviations of the differences between seeds in a real summary, where they are known."""
    with xr.open_dataset(file, engine="h5netcdf") as opened:
        found = findings(opened.load())
    difference = (found["left"] - found["right"]).std("seed", ddof=1).to_series()
    return DEVIATIONS | {name: float(difference[name]) for name in ROWS if difference[name] > 0}


def variances(deviation: dict[str, float]) -> dict:
    """By number of a run: the variance of the architecture's part, and of the run's in both."""
    square = {name: value**2 for name, value in deviation.items()}
    found = {}
    for kind, value in (
        ("state", run_values.state_distinguishability),
        ("restlessness", run_values.strongest_fall),
    ):
        resnet, vit = (square[f"{model}-sgd-{kind}"] / 2 for model in ("resnet", "vit"))
        between = max(0, (square[f"vit-{kind}"] - (resnet + vit) / 2) / 2)
        found[value] = (between, resnet, vit)
    for kind, value in (
        ("state", run_values.memorization_contrast),
        ("restlessness", run_values.memorization_fall),
    ):
        found[value] = (0, *[square[f"memorization-sgd-{kind}"]] * 2)
    both = square["vit-synchronization"]
    found[run_values.synchronization] = (both / 4, both / 2, both / 2)
    fit, depth = square["vit-perfect-fit"], square["depth-change"]
    found[run_values.perfect_fit_share] = (fit / 2, fit, fit)
    found[run_values.depth_correlation] = (depth, 2 * depth, 2 * depth)
    return found


class Simulation:
    """Draws studies of so many seeds, with normal or heavy-tailed (t, 4 degrees) deviations."""

    def __init__(self, seeds: int, deviation: dict[str, float], heavy: bool, seed: int):
        self.runs = PairedRuns(simulated_summary(seeds))
        self.shape = (seeds, 4)
        self.variances = variances(deviation)
        self.heavy, self.rng = heavy, np.random.default_rng(seed)
        for reading in READINGS:
            chance = np.full(4 * seeds, CHANCE)
            self.runs.set_values(run_values.perfect_fit_chance, "cka", reading, chance)

    def draw(self, *shape: int) -> np.ndarray:
        """Deviations of variance 1."""
        if self.heavy:
            return self.rng.standard_t(4, shape) / np.sqrt(2)
        return self.rng.normal(size=shape)

    def parts(self, between: float, resnet: float, vit: float, common: bool) -> np.ndarray:
        """(seed, cell) deviations of the numbers of the runs."""
        seeds = self.shape[0]
        of_run = np.sqrt(np.array([resnet, resnet, vit, vit]) / 2)
        architecture = np.sqrt(between) * np.repeat(self.draw(seeds, 2), 2, axis=1)
        blocks = np.sqrt(BLOCKS) * self.draw(seeds, 4, BLOCKS).mean(axis=2)
        seed = self.draw(seeds, 1) * of_run.max() if common else 0
        return seed + architecture + of_run * (self.draw(seeds, 4) + blocks)

    def study(self, effects: dict[str, float]) -> dict[str, str]:
        """Verdicts by row of a study with these effects."""
        for value, variance in self.variances.items():
            names = [name for name in ROWS if TESTED[name].value is value]
            mean = sum(effects.get(name, 0) * np.array(EFFECTS[name]) for name in names)
            # One-sided rows compare with a constant, to which a seed's part does not belong.
            one_sided = names[0] in ("vit-perfect-fit", "depth-change")
            mean = mean + CHANCE * (names[0] == "vit-perfect-fit")
            shared = self.parts(*variance, common=not one_sided)
            for reading in READINGS:
                own = self.parts(*variance, common=False)
                deviation = np.sqrt(1 - OWN_VARIANCE) * shared + np.sqrt(OWN_VARIANCE) * own
                self.runs.set_values(value, "cka", reading, (mean + deviation).ravel())
        rows = tested_rows(self.runs, ["cka"])
        found = {claim.name: row.verdict for claim, row in zip(CLAIMS, rows, strict=True)}
        return {name: found[name] for name in ROWS}


def decided(verdicts: dict[str, str], names: list[str]) -> bool:
    """Whether any of these rows is supported or contradicted."""
    return any(verdicts[name] in (SUPPORTED, CONTRADICTED) for name in names)


def share(found: list[bool]) -> str:
    """A share with its standard error."""
    mean = float(np.mean(found))
    return f"{mean:.3f} ± {np.sqrt(mean * (1 - mean) / len(found)):.3f}"


def twice(name: str) -> float:
    """The effect that is put in: twice the smallest of interest."""
    return FIT_EFFECT if name == "vit-perfect-fit" else 2 * TESTED[name].smallest_effect


def error_rates(deviation: dict[str, float], studies: int, seeds: int, seed: int) -> None:
    """Prints the shares of studies without an effect, and with effects."""
    simulations = [Simulation(seeds, deviation, heavy, seed) for heavy in (False, True)]
    rows: list[list] = []
    for times in (1, WIDE):
        scaled = {name: times * value for name, value in deviation.items()}
        chosen = [Simulation(seeds, scaled, heavy, seed) for heavy in (False, True)]
        none = [[decided(s.study({}), list(ROWS)) for _ in range(studies)] for s in chosen]
        about = "" if times == 1 else f", deviations x {times}"
        rows.append([f"none: any row decided{about}", "", "", *map(share, none), "", "", ""])
    everywhere = {name: twice(name) for name in ROWS}
    together = [[s.study(everywhere) for _ in range(studies)] for s in simulations]
    for name in ROWS:
        alone = [[s.study({name: twice(name)}) for _ in range(studies)] for s in simulations]
        others = [other for other in ROWS if other != name]
        cells = [share([v[name] == SUPPORTED for v in each]) for each in [*alone, *together]]
        wrong = share([decided(verdicts, others) for verdicts in alone[0]])
        rows.append([name, twice(name), deviation[name], *cells, wrong])
    header = ["effect in row", "effect", "deviation", "supported, normal", "supported, t"]
    header += ["in all rows, normal", "in all rows, t", "others, normal"]
    print_rows(header, rows)


def power(studies: int, seeds: int, seed: int) -> None:
    """Prints how often an effect of twice the smallest is supported, by the deviation."""
    name = ROWS[0]
    rows = []
    for ratio in RATIOS:
        deviation = {row: ratio * DEVIATIONS[name] for row in ROWS}
        cells = []
        for heavy in (False, True):
            simulation = Simulation(seeds, DEVIATIONS | deviation, heavy, seed)
            found = [simulation.study({name: twice(name)})[name] for _ in range(studies)]
            cells.append(share([verdict == SUPPORTED for verdict in found]))
        rows.append([ratio, *cells])
    print_rows(["deviation / smallest effect", "supported, normal", "supported, t"], rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--summary", help="summary.nc whose deviations are used")
    given = parser.parse_args()
    print(machine("numpy", "scipy"), end="\n\n")
    used = deviations_of(given.summary) if given.summary else DEVIATIONS
    error_rates(used, given.studies, given.seeds, given.seed)
    print()
    power(given.studies, given.seeds, given.seed)
