"""Records of undefined layers, few epochs or few images: nothing fails, nothing is made up."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import xarray as xr
from helpers import CLASSES, WRITTEN_EPOCHS, N, assert_input_error, repdyn, write_run

from repdyn_keras import open_run
from repdyn_keras.dynamics.phase_descriptions import Change
from repdyn_keras.figures import draw_all
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.one_backend

UNDEFINED = "Dead or not finite"
FEW = "Fewer than 8 recorded epochs: no phases."
SHORT = "Fewer than 3 recorded epochs: no synchronization."
UNEVEN = "Records too unevenly spaced for a border, so no phases: stem, output."
KINDS = (UNDEFINED, "Fewer than 8", "Fewer than 3", "Defined at fewer", "No timing", "uneven")
# Variables by what they are undefined for.
OF_RECORD = ("cka", "noise_share", "progress", "cka_interval", "cka_null", "cka_null_class")
OF_RECORD += ("influential_share", "border_z", "contrast", "restlessness")
OF_LAYER = ("phases_p", "distinguishability", "contrast_seen", "noise_dimension")
OF_LAYER += ("settling_epoch", "spread_floor")
OF_PAIR = ("synchronization", "spread", "lag", "timing_overlap")
OF_BORDER = ("border_z", "border_p", "phases_p", "distinguishability", "contrast_seen")


@dataclass(frozen=True)
class Case:
    """A folder of records, and the remarks below its table, each printed once."""

    remarks: tuple[str, ...] = ()
    epochs: tuple[int, ...] = WRITTEN_EPOCHS
    layers: tuple[str, ...] = ("stem", "output")
    bad: tuple[tuple[int, str, str], ...] = ()
    labels: bool = True
    noise: bool = True
    planes: bool = False
    change: Callable[[RunFolder], None] = field(default=lambda folder: None)


def at(epochs, layer: str, kind: str) -> tuple[tuple[int, str, str], ...]:
    return tuple((epoch, layer, kind) for epoch in epochs)


def keep_still(folder: RunFolder) -> None:
    """Gives the layer `still` the fingerprint of epoch 0 at every epoch."""
    first = folder.record(0)["fingerprint"].sel(layer="still")
    for epoch in folder.epochs():
        record = folder.record(epoch)
        record["fingerprint"].loc[{"layer": "still"}] = first
        folder.write_record(epoch, record)


def name_images(folder: RunFolder) -> None:
    """Replaces the ids of the images by text."""
    constants = folder.constants()
    for name in ("sample", "plane_sample"):
        ids = np.vectorize("näme {}".format)(constants[name].values)
        constants[name] = constants[name].dims, ids
    folder.write_constants(constants)


def with_labels(labels) -> Callable[[RunFolder], None]:
    def change(folder: RunFolder) -> None:
        given = {name: ("image", np.asarray(labels)) for name in ("label_given", "label_true")}
        folder.write_constants(folder.constants().assign(given))

    return change


def without_label_noise(folder: RunFolder) -> None:
    for epoch in folder.epochs():
        record = folder.record(epoch)
        record["probe_accuracy"][:, 2:4] = np.nan
        folder.write_record(epoch, record)


E = WRITTEN_EPOCHS
CASES = {
    "layers": Case(
        (
            f"{UNDEFINED} at 2 of 11 epochs from 0 to 4, and left out: sometimes.",
            f"{UNDEFINED} at 6 of 11 epochs from 0 to 6, and left out: mostly.",
            f"{UNDEFINED} at 5 of 11 epochs from 8 to 32, and left out: diverged.",
            f"{UNDEFINED} at every epoch, and left out: dead.",
            "Defined at fewer than 8 records, so no phases: mostly, diverged.",
            "No timing, since the state changes by less than 0.1: still to diverged.",
        ),
        layers=("sometimes", "dead", "still", "mostly", "diverged", "output"),
        bad=(
            *at((0, 4), "sometimes", "dead"),
            *at(E, "dead", "dead"),
            *at(E[:6], "mostly", "dead"),
            *at(E[6:], "diverged", "not finite"),
        ),
        planes=True,
        change=keep_still,
    ),
    "no layer is finite": Case(
        (f"{UNDEFINED} at every epoch, and left out: stem, output.",),
        bad=(*at(E, "stem", "not finite"), *at(E, "output", "not finite")),
        noise=False,
        planes=True,
    ),
    "uneven records": Case((UNEVEN,), (0, 1, 5, 50, 1000, 20000, 20001, 20002), planes=True),
    "seven records": Case((FEW,), E[:7], planes=True),
    "two records": Case((FEW, SHORT), E[:2], planes=True),
    "one record": Case((FEW, SHORT), E[:1], planes=True),
    "one of two records": Case(
        (FEW, SHORT, f"{UNDEFINED} at epoch 1, and left out: stem."),
        E[:2],
        bad=at((1,), "stem", "dead"),
        planes=True,
    ),
    "one class": Case(epochs=E[:3], change=with_labels(np.zeros(N, int))),
    "classes of one image": Case(epochs=E[:3], change=with_labels(np.arange(N))),
    "some classes of one image": Case(
        epochs=E[:3], change=with_labels([*range(CLASSES), *[0] * (N - CLASSES)])
    ),
    "ids that are text": Case((FEW,), E[:3], planes=True, change=name_images),
    "no labels": Case(labels=False, noise=False),
    "no label noise": Case(noise=False, change=without_label_noise),
}
CASES |= {
    name: replace(case, remarks=(FEW,)) for name, case in CASES.items() if case.epochs == E[:3]
}


# The others are long.
QUICK = ("layers", "no layer is finite", "one of two records", "no labels")


def by_ring(name: str):
    """The case as a parameter of a fixture."""
    marks = () if name in QUICK else pytest.mark.long
    return pytest.param(name, marks=marks, id=name.replace(" ", "-"))


@pytest.fixture(params=map(by_ring, CASES))
def case(request) -> Case:
    return CASES[request.param]


@pytest.fixture
def folder(case, tmp_path) -> RunFolder:
    folder = write_run(
        tmp_path / "run",
        case.layers,
        case.epochs,
        bad=case.bad,
        labels=case.labels,
        planes=case.planes,
    )
    case.change(folder)
    return folder


def test_what_is_undefined_is_named_once_and_has_no_numbers(case, folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    result = repdyn("analyze", folder.path)
    assert result.exit_code == 0, repr(result.exception)
    printed = result.stdout
    for remark in case.remarks:
        assert printed.count(remark) == 1, printed
    for kind in KINDS:
        assert printed.count(kind) == sum(kind in remark for remark in case.remarks), printed
    assert not re.search(r"\bnan\b|None", printed), "NaN is printed as a dash"
    assert ("memorized" in printed) == case.noise
    dynamics = folder.dynamics()
    assert_undefined(dynamics, case)
    for name, variable in dynamics.data_vars.items():
        assert variable.dtype.kind != "f" or not np.isinf(variable).any(), name


def assert_undefined(dynamics: xr.Dataset, case: Case) -> None:
    """Checks that nothing is computed from undefined layers, nor from too few records."""
    for layer in case.layers:
        bad = {epoch for epoch, name, _ in case.bad if name == layer}
        here = dynamics.sel(layer=layer, epoch=sorted(bad))
        assert not here["phase"].any() and not here["border_kind"].any()
        for name in OF_RECORD:
            assert name not in here or here[name].isnull().all(), (layer, name)
        if bad == set(case.epochs):
            for name in (*OF_LAYER, *OF_PAIR):
                assert here[name].isnull().all(), (layer, name)
    if len(case.epochs) < 8 or UNEVEN in case.remarks:
        assert (dynamics["phase"] <= 1).all()
        assert all(dynamics[name].isnull().all() for name in OF_BORDER)
    if len(case.epochs) < 3:
        assert all(dynamics[name].isnull().all() for name in (*OF_PAIR, "progress"))


@pytest.mark.long
def test_figures_are_drawn(folder, tmp_path, coarse_figures):
    drawn = draw_all(open_run(folder.path).dynamics, tmp_path / "figures")
    assert "cka.png" in {path.name for path in drawn}


def test_ids_that_are_text_name_the_influential_images(tmp_path):
    folder = write_run(tmp_path / "run", ("stem", "output"), E[:3], bad=at((1,), "stem", "dead"))
    numbers = open_run(folder.path).dynamics["influential_image"]
    name_images(folder)
    assert repdyn("analyze", folder.path).exit_code == 0
    names = folder.dynamics()["influential_image"]
    expected = np.vectorize("näme {}".format)(numbers)
    np.testing.assert_array_equal(names, np.where(numbers < 0, "", expected))
    assert (names.sel(layer="stem", epoch=1) == "").all()


def test_a_history_without_numbers_leaves_out_the_loss(tmp_path):
    folder = write_run(tmp_path / "run", ("stem", "output"), planes=False)
    run = open_run(folder.path)
    for text in ("epoch,loss\n1,high\n", "epoch,loss\n1,2,3\n", "epoch,loss\n\xff,1\n"):
        folder.history_file.write_bytes(text.encode("latin-1"))
        assert_input_error(text, "table of numbers in .*history.csv", run.phases)
        result = repdyn("analyze", folder.path)
        assert result.exit_code == 0, repr(result.exception)
        assert result.stdout.count("The loss is left out.") == 1
        assert "loss " not in result.stdout.split("The loss is left out.")[0]
    folder.history_file.write_text("epoch,loss\n1,2.0\n32,1.0\n")
    phases = run.phases()
    assert phases[-1].changes[0] == Change("loss", 2.0, 1.0)
    assert [phase.layer for phase in phases if phase.number == 1] == ["stem", "output"]
