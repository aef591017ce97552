"""Decision regions of different runs on the same planes, compared with scikit-learn."""

import shutil

import numpy as np
import pytest
import xarray
from helpers import CLASSES, assert_input_error, region_maps, repdyn, write_run
from sklearn.metrics import cohen_kappa_score

from repdyn_keras import compare, compare_runs, open_run
from repdyn_keras.cli.run_tables import print_runs
from repdyn_keras.dynamics import analyze

pytestmark = pytest.mark.one_backend

LAYERS_A, EPOCHS_A = ("stem", "block", "output"), (0, 1, 2, 4)
LAYERS_B, EPOCHS_B = ("embedding", "block", "output"), (0, 1, 3)
U = 255


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs on the same planes; regions of "block" are undefined in the first at epoch 2."""
    base = tmp_path_factory.mktemp("regions")
    bad = [(2, "block", "not finite")]
    write_run(base / "one", LAYERS_A, EPOCHS_A, bad=bad)
    write_run(base / "other", LAYERS_B, EPOCHS_B, seed=5, maps_seed=6)
    return base / "one", base / "other"


def changed(folder, path, attrs=None, **variables):
    """A copy of a run with other constants."""
    source, target = open_run(folder).folder, open_run(write_run(path, LAYERS_B, (0,)).path).folder
    target.write_constants(source.constants().assign(variables).assign_attrs(attrs or {}))
    for epoch in source.epochs():
        target.write_record(epoch, source.record(epoch))
    return open_run(path)


def test_regions_of_two_runs_agree_as_scikit_learn_says(folders):
    found = compare(*map(open_run, folders), epochs=[(0, 0), (4, 3)])
    assert found.attrs["regions_missing"] == ""
    assert found["match_a"].values.tolist() == ["block", "output"]
    maps_a, maps_b = region_maps(3, EPOCHS_A), region_maps(3, EPOCHS_B, 6)
    maps_a[2, 1] = U

    def wanted(one, other):
        """Agreement in the mean over planes, and kappa over all points."""
        if (one == U).any():
            return np.nan, np.nan
        by_plane = [(x == y).mean() for x, y in zip(one, other, strict=True)]
        return np.mean(by_plane), cohen_kappa_score(one.ravel(), other.ravel())

    for kind, pairs in (
        ("layers", [[[(a, b) for b in maps_b[f]] for a in maps_a[e]] for e, f in ((0, 0), (3, 2))]),
        ("epochs", [[[(a, b) for b in maps_b[:, i]] for a in maps_a[:, i]] for i in (1, 2)]),
    ):
        expected = np.array([[[wanted(*pair) for pair in row] for row in one] for one in pairs])
        for index, measure in enumerate(("region_agreement", "region_kappa")):
            values = found[f"{measure}_{kind}"]
            assert values.dims == found[f"cka_{kind}"].dims
            assert values.values == pytest.approx(expected[..., index], abs=1e-12, nan_ok=True)
            low, high = np.moveaxis(found[f"{measure}_{kind}_interval"].values, -1, 0)
            defined = np.isfinite(values.values)
            assert (np.isfinite(low) == defined).all() and (np.isfinite(high) == defined).all()
            assert ((low < values) & (values < high)).values[defined].all()
    assert np.isnan(found["region_kappa_epochs"].values[0, 2]).all()
    assert np.isfinite(found["region_kappa_epochs"].values[1]).all()


def test_a_run_agrees_with_itself_as_its_own_epochs_do(folders):
    run = open_run(folders[0])
    itself, own = compare(run, run), run.dynamics
    for measure in ("region_agreement", "region_kappa"):
        np.testing.assert_array_equal(itself[f"{measure}_epochs"], own[measure])
        between, within = itself[f"{measure}_epochs_interval"], own[f"{measure}_interval"]
        apart = ~np.eye(len(EPOCHS_A), dtype=bool)
        np.testing.assert_array_equal(between.values[:, apart], within.values[:, apart])


@pytest.mark.long
def test_regions_on_other_planes_are_left_out_with_the_reason_or_rejected(folders, tmp_path):
    one, other = map(open_run, folders)
    constants = other.folder.constants()
    names, images = ("class", ["a", "b", "c", "d"][:CLASSES]), constants["plane_image"]
    corners, order = constants["plane_sample"], "through the same images in another order"
    cases = {
        "margin": ({"margin": 0.2}, {}, "A has margin = 0.1, B has 0.2"),
        "corners": ({}, {"plane_sample": corners + 1}, "another seed of planes"),
        "planes in another order": ({}, {"plane_sample": corners[::-1]}, order),
        "images in another order": ({}, {"plane_sample": corners[:, ::-1]}, order),
        "chosen": ({"planes_chosen": 1}, {"plane_sample": corners + 1}, "planes through other"),
        "pixels": ({}, {"plane_image": images + 1}, "planes of A and B have other pixels"),
        "classes": ({"n_classes": 9}, {}, f"A has number of classes = {CLASSES}, B has 9"),
    }
    for name, (attrs, variables, reason) in cases.items():
        run = changed(folders[1], tmp_path / name, attrs, **variables)
        found = compare(one, run)
        assert reason in found.attrs["regions_missing"], name
        assert ("seed" in found.attrs["regions_missing"]) == (name == "corners")
        assert "cka_layers" in found and not [each for each in found if "region" in each]
        words = rf"the same planes.*Received: .*{reason}.*Record both"
        assert_input_error(name, words, compare, one, run, regions=True)
    with_names = [
        changed(folders[1], tmp_path / f"names{index}", class_name=("class", values))
        for index, values in enumerate((names[1], names[1][::-1]))
    ]
    assert "A has the classes a, b" in compare(*with_names).attrs["regions_missing"]
    assert compare(one, with_names[0]).attrs["regions_missing"] == "", "one without names"
    without = open_run(write_run(tmp_path / "without", LAYERS_B, (0,), planes=False).path)
    assert "B recorded no decision regions" in compare(one, without).attrs["regions_missing"]
    given = repdyn("compare", one.folder.path, without.folder.path, "--regions")
    assert given.exit_code == 2 and "B recorded no decision regions" in given.stderr
    assert "not asked for" in compare(one, other, regions=False).attrs["regions_missing"]


@pytest.mark.long
def test_chosen_planes_have_no_intervals(folders, tmp_path):
    """An interval over planes is one over a random choice, which one of two runs may have made."""
    drawn = open_run(folders[1])
    chosen = changed(folders[1], tmp_path / "one", {"planes_chosen": 1})
    assert (
        chosen.dynamics.attrs["planes_chosen"] == 1 and "planes_chosen" not in drawn.dynamics.attrs
    )
    for measure in ("region_agreement", "region_kappa"):
        assert chosen.dynamics[measure].equals(drawn.dynamics[measure])
        assert chosen.dynamics[f"{measure}_interval"].isnull().all()
        for other, has in ((chosen, False), (drawn, True)):
            found = compare(chosen, other)[f"{measure}_layers_interval"]
            assert found.notnull().any() == has
            again = changed(other.folder.path, tmp_path / f"{measure} {has}")
            found = compare_runs([chosen, again])[f"{measure}_interval"]
            assert found.notnull().any() == has


def test_the_command_prints_regions_beside_cka(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("repdyn_keras.figures.draw_comparison", lambda *given: [])
    done = repdyn("compare", *folders, "--epoch", "1", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("│ output")]
    found = compare(*map(open_run, folders), [(1, 1)]).isel(moment=0)
    found = found.sel(layer_a="output", layer_b="output")
    names = ("cka_layers", "region_agreement_layers", "region_kappa_layers")
    assert [cell.strip() for cell in row.split("│")[2:5]] == [
        f"{float(found[n]):.2f}" for n in names
    ]
    done = repdyn("compare", *folders, "--no-regions", "--out", tmp_path / "out")
    assert "Regions are not compared" in done.stdout and "kappa" not in done.stdout


@pytest.fixture(scope="module")
def several(folders, tmp_path_factory):
    """A third run of the same name as the first, without a perfect fit and with other planes."""
    base = tmp_path_factory.mktemp("several")
    third = write_run(base / "one", LAYERS_A, (0, 1), seed=8, maps_seed=9)
    third.write_constants(third.constants().assign_attrs(margin=0.3))
    return [*map(open_run, folders), open_run(third.path)]


def test_every_two_of_several_runs_are_compared_as_two_are(several):
    found = compare_runs(several)
    names = [f"{run.folder.path.parent.name}/{run.folder.path.name}" for run in several]
    assert found["run"].values.tolist() == found["run_other"].values.tolist() == names
    assert found["layer"].values.tolist() == ["stem", "block", "output"]
    assert np.isnan(found["epoch"].sel(moment="perfect fit").values[2])
    for measure in ("cka", "region_agreement", "region_kappa"):
        turned = found[measure].transpose("moment", "layer", "run_other", "run").values
        assert found[measure].values == pytest.approx(turned, abs=1e-12, nan_ok=True)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            one, other = several[i], several[j]
            two = compare(one, other)
            at = {"moment": len(two["moment"]) - 1}
            for layer in found["layer"].values:
                pair = {"layer": layer, "run": names[i], "run_other": names[j]}
                value = found[measure].sel(moment="last", **pair).item()
                shared = layer in two["layer_a"] and layer in two["layer_b"]
                if not shared or f"{measure}_layers" not in two:
                    assert np.isnan(value)
                    continue
                expected = two[f"{measure}_layers"].isel(at).sel(layer_a=layer, layer_b=layer)
                assert value == pytest.approx(expected.item(), abs=1e-6, nan_ok=True)
    itself = found["region_agreement"].sel(moment="last", layer="output").values.diagonal()
    assert itself.tolist() == [1, 1, 1]
    perfect = found.sel(moment="perfect fit")
    assert np.isnan(perfect["cka"].values[:, 2]).all()
    assert np.isnan(perfect["cka"].values[:, :, 2]).all()
    assert "margin = 0.1" in found.attrs["regions_missing"]
    assert "has 0.3" in found.attrs["regions_missing"]
    assert compare_runs(several[:2]).attrs["regions_missing"] == ""
    assert not [each for each in compare_runs(several, regions=False) if "region" in each]


def test_runs_that_cannot_be_compared_are_rejected(several, tmp_path):
    assert_input_error("one", "at least two runs. Received: 1", compare_runs, several[:1])
    twice = [several[0], several[1], several[0]]
    assert_input_error(
        "twice", "different runs. Received: .*one more than once", compare_runs, twice
    )
    words = "same planes.*margin = 0.1.*Record both"
    assert_input_error("planes", words, compare_runs, several, regions=True)
    constants = several[1].folder.constants()
    other = changed(several[1].folder.path, tmp_path / "ids", sample=constants["sample"] + 1)
    words = "ids to have the same evaluation images.*ids in common"
    assert_input_error("images", words, compare_runs, [*several, other])
    results = write_run(tmp_path / "results", LAYERS_B, (0,))
    analyze(results)
    shutil.rmtree(results.records)
    words = "results holds no records.*Received: results alone.*--keep records"
    assert_input_error("records", words, compare, several[0], open_run(results.path))
    assert_input_error("records", words, compare_runs, [*several, open_run(results.path)])


def test_the_command_compares_several_runs(several, tmp_path):
    paths = [run.folder.path for run in several]
    done = repdyn("compare", *paths, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    assert "perfect fit" not in done.stdout, "only some runs have one"
    for words in ("A: ", "C: ", "last: epochs 4 of A, 3 of B, 1 of C", "margin = 0.1", "B-C"):
        assert words in done.stdout
    drawn = {file.stem for file in (tmp_path / "out").glob("*.png")}
    assert drawn == {"runs_cka", "runs_region_agreement", "runs_region_kappa"}
    with xarray.open_dataset(tmp_path / "out" / "comparison.nc", engine="h5netcdf") as written:
        xarray.testing.assert_equal(written.load(), compare_runs(several))


def test_many_runs_are_printed_as_a_matrix_of_their_outputs(tmp_path, capsys):
    folders = [write_run(tmp_path / f"run{i}", ("output",), (0,), seed=i).path for i in range(6)]
    found = compare_runs([open_run(folder) for folder in folders])
    print_runs(found)
    printed = capsys.readouterr().out
    assert "A-B" not in printed and "other layers: comparison.nc" in printed
    row = next(line for line in printed.splitlines() if line.startswith("│ F "))
    cells = [cell.strip() for cell in row.split("│")[2:-1]]
    assert cells == [f"{value:.2f}" for value in found["cka"].values[-1, 0, 5]]
