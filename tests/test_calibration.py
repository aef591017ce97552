"""The choice of learning rates by the fairness rule."""

import math

import numpy as np
import pytest

from repdyn_keras.errors import InputError
from repdyn_keras.study.calibration import (
    Choice,
    Trial,
    as_csv_text,
    as_table,
    choices_in,
    choose,
    rates_of,
)
from repdyn_keras.study.grid import study_jobs
from repdyn_keras.study.study_file import study_of

pytestmark = pytest.mark.without_keras


def trials(cell, rate, fits, accuracy):
    return [Trial(cell, rate, seed, fit, accuracy) for seed, fit in enumerate(fits)]


def test_the_best_test_accuracy_within_a_quarter_of_the_target_is_chosen():
    found = rates_of(
        [
            *trials("a", 0.1, (30, 34), 0.90),
            *trials("a", 0.2, (24, 24), 0.92),
            *trials("a", 0.4, (20, 22), 0.99),
            *trials("b", 0.1, (40, 40), 0.80),
            *trials("b", 0.2, (41, 41), 0.85),
        ]
    )
    choices = choose(found, 32)
    assert choices["a"].learning_rate == 0.2, "0.4 fits too early, 0.1 is worse"
    assert choices["b"].learning_rate == 0.1, "a quarter itself is within"
    assert choose(found, 100)["a"].learning_rate is None


def test_a_seed_without_perfect_fit_makes_the_median_infinite():
    (rate,) = rates_of(trials("a", 0.1, (30, math.inf), 0.9))
    assert math.isinf(rate.median_fit) and choose([rate], 30)["a"].learning_rate is None
    assert math.isnan(choose([rate])["a"].target) and choose([rate])["a"].learning_rate is None


def test_an_open_target_is_the_one_that_most_cells_reach_then_the_most_accurate():
    rng = np.random.default_rng(0)
    for _ in range(50):
        found = rates_of(
            [
                trial
                for cell in "abcd"
                for rate in (1, 2, 3)
                for trial in trials(cell, rate, rng.integers(10, 100, 2), rng.random())
            ]
        )
        choices = choose(found)
        (target,) = {choice.target for choice in choices.values()}

        def merit(t, found=found):
            within = [[r for r in found if r.cell == c and r.is_within(t)] for c in "abcd"]
            best = [max(rates, key=lambda r: r.test_accuracy) for rates in within if rates]
            if not best:
                return (0,)
            deviation = max(abs(r.median_fit / t - 1) for r in best)
            return len(best), np.mean([r.test_accuracy for r in best]).round(12), -deviation

        best = max(map(merit, range(1, 200)))
        assert merit(target) == best
        assert target == next(t for t in range(1, 200) if merit(t) == best)


def test_the_table_holds_the_choices():
    found = rates_of([*trials("a", 0.1, (30, 34), 0.9), *trials("b", 1.0, (90, math.inf), 0.9)])
    choices = choose(found, 32)
    rows = as_table(found, choices)
    assert [row["chosen"] for row in rows] == ["yes", "no"]
    assert rows[1]["perfect_fit_epochs"] == "90 inf"
    assert choices_in(as_csv_text(rows)) == choices


def test_the_file_gives_back_every_number_exactly():
    """A rounded learning rate would be that of other runs, which would all be done again."""
    rng = np.random.default_rng(2)
    for rate in [*(10 ** rng.uniform(-6, 1, 50)), 0.1, 1e-5, 10**-2.5, 1]:
        found = rates_of(trials("a", rate, (rng.uniform(1, 1e7), 1e7 / 3), 0.9))
        choices = choose(found)
        assert choices["a"].learning_rate == rate
        assert choices_in(as_csv_text(as_table(found, choices))) == choices
    assert (
        as_table(rates_of(trials("a", 0.02, (30, 34), 0.9)), choose(found))[0]["learning_rate"]
        == "0.02"
    )


def test_a_perfect_fit_before_the_first_epoch_is_no_target():
    found = rates_of([*trials("a", 0.1, (0, 0), 0.9), *trials("b", 0.1, (8, 8), 0.9)])
    assert choose(found)["b"] == Choice(0.1, 8)
    assert choose(found)["a"].learning_rate is None
    assert math.isnan(choose(found[:1])["a"].target)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "cell,target_epoch\na,8\n", "\0"])
def test_a_damaged_file_is_an_error(text):
    with pytest.raises(InputError, match="calibration of the study is damaged. Expected .* remove"):
        choices_in(text)
    table = as_csv_text(as_table(found := rates_of(trials("a", 0.1, (8, 8), 0.9)), choose(found)))
    with pytest.raises(InputError, match="damaged"):
        choices_in(table.replace("0.1,", "x,"))


def test_a_calibration_without_one_of_the_cells_is_an_error():
    study = study_of(
        {
            "optimizer": ["sgd", "adam"],
            "seeds": 2,
            "calibration": {
                "seeds": [8, 9],
                "epochs": 8,
                "learning_rates": {"sgd": [0.1], "adam": [0.1]},
            },
        }
    )
    choices = {cell: Choice(0.1, 4) for cell in study.cells}
    assert len(study_jobs(study, choices)) == 4
    del choices["resnet adam"]
    with pytest.raises(InputError, match="Received: none of the cell 'resnet adam'"):
        study_jobs(study, choices)
