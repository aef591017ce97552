"""Two runs compared: their CKA against features computed apart, and what is refused."""

import numpy as np
import pytest
import xarray
from helpers import BACKEND, TINY, repdyn

from repdyn_keras import InputError, cka, compare, open_run, run
from repdyn_keras.dynamics import check_same_images
from repdyn_keras.measures.cka import cosines, fingerprint, null_deviation


@pytest.fixture(scope="module")
def runs(tiny_run, tmp_path_factory):
    """The tiny ResNet, and a ViT of another seed and optimizer on the same data."""
    keys = {k: v for k, v in TINY.items() if k not in ("width", "blocks", "keep_weights")}
    other = {"model": "vit", "optimizer": "adam", "seed": 3, "data_seed": 0, "epochs": 5}
    sizes = {"width": 8, "depth": 2, "heads": 2, "patch": 4, "planes": 0, "backend": BACKEND}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repdyn_keras.figures.draw_all", lambda *args, **more: [])
        vit = run({**keys, **other, **sizes}, out=tmp_path_factory.mktemp("compare") / "vit")
    return open_run(tiny_run.folder.path), vit


def prints(opened, epoch, layer):
    place = opened.dynamics["layer"].values.tolist().index(layer)
    return opened.folder.fingerprints([epoch], slice(place, place + 1))[0, 0].astype(float)


def test_a_comparison_holds_cosines_of_the_two_runs_fingerprints(runs):
    found = compare(*runs, epochs=[(0, 0), (1, 4)], layers=[("stem", "block01")])
    assert found["cka_layers"].dims == ("moment", "layer_a", "layer_b")
    assert found["cka_epochs"].dims == ("match", "recorded_a", "recorded_b")
    for moment, (one, other) in enumerate([(0, 0), (1, 4)]):
        for a in ("stem", "output"):
            for b in ("patch_embedding", "block02"):
                x, y = prints(runs[0], one, a), prints(runs[1], other, b)
                wanted = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
                here = found["cka_layers"].isel(moment=moment).sel(layer_a=a, layer_b=b)
                assert here.item() == pytest.approx(wanted, abs=1e-6)
    x, y = prints(runs[0], 2, "stem"), prints(runs[1], 5, "block01")
    wanted = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    here = found["cka_epochs"].isel(match=0).sel(recorded_a=2, recorded_b=5).item()
    assert here == pytest.approx(wanted, abs=1e-6)
    assert found.attrs["title_a"].startswith("synthetic, resnet, sgd")
    assert found.attrs["title_b"].startswith("synthetic, vit, adam")


def test_the_usual_comparison_is_of_the_first_and_last_epochs_and_common_names(runs):
    found = compare(*runs)
    assert list(zip(found["epoch_a"].values, found["epoch_b"].values, strict=True)) == [
        (0, 0),
        (3, 5),
    ]
    assert found["match_a"].values.tolist() == ["output"]
    assert found["recorded_a"].values.tolist() == [0, 1, 2, 3]


def test_a_run_compared_with_itself_repeats_its_own_matrices(runs):
    found = compare(runs[0], runs[0])
    own = runs[0].dynamics["cka"].values
    assert found["cka_epochs"].values == pytest.approx(own, abs=1e-6)
    last = np.diagonal(found["cka_layers"].isel(moment=-1).values)
    assert last == pytest.approx(1, abs=1e-6)
    swapped = compare(*runs[::-1])
    assert swapped["cka_layers"].isel(moment=0).values.T == pytest.approx(
        compare(*runs)["cka_layers"].isel(moment=0).values, abs=1e-6
    )


def test_dead_layers_are_nan(runs, tmp_path):
    # The class token of an untrained ViT sees no image: its logits' fingerprint is alive or dead
    # as the record says, and no number stands for a dead one.
    found = compare(*runs, epochs=[(0, 0)])
    dead = runs[1].folder.series([0], ["dead"])["dead"][0].astype(bool)
    assert np.isnan(found["cka_layers"].values[0][:, dead]).all()
    assert np.isfinite(found["cka_layers"].values[0][:, ~dead]).all()


def test_the_nulls_deviation_is_that_of_permuted_samples():
    rng = np.random.default_rng(0)
    b, n = 12, 48
    x = rng.normal(size=(n, 5))
    y = rng.normal(size=(n, 30)) + 2 * x[:, :1]
    one = fingerprint(x, batch_size=b)[None]
    found = []
    for _ in range(3000):
        order = np.concatenate([start + rng.permutation(b) for start in range(0, n, b)])
        found.append(cosines(one, fingerprint(y[order], batch_size=b)[None])[0, 0])
    exact = null_deviation(one, fingerprint(y, batch_size=b)[None], b)
    assert exact.shape == (1, 1)
    assert np.std(found) == pytest.approx(exact.item(), rel=0.05)
    assert np.mean(found) == pytest.approx(0, abs=4 * exact.item() / 3000**0.5)
    assert cka(x, y, batch_size=b) > 3 * exact.item()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": [(0, 4), (7, 0)]}, "no record of epoch 7. Expected one of 0, 1, 2, 3"),
        ({"layers": [("stem", "blok01")]}, "Unknown layer of .*vit 'blok01'. .*block01"),
        ({"epochs": []}, "No epochs or no layers to compare"),
        ({"layers": []}, "No epochs or no layers to compare"),
        ({"layers": [("sten", "block01")]}, "Unknown layer of .* 'sten'. .*stem"),
    ],
)
def test_what_was_not_recorded_is_refused(runs, options, message):
    with pytest.raises(InputError, match=message):
        compare(*runs, **options)


def constants(ids, digest="a", batch=8):
    return xarray.Dataset({"sample": ("image", ids)}, attrs={"images_hash": digest, "batch": batch})


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (constants([1, 2, 3, 5]), "4 and 4 images, of which 3 have ids in common"),
        (constants([1, 2, 3]), "4 and 3 images, of which 3"),
        (constants([2, 1, 3, 4]), "the same images in another order"),
        (constants([1, 2, 3, 4], "b"), "the same ids and other pixels"),
        (constants([1, 2, 3, 4], batch=4), "batches of 8 and of 4"),
    ],
)
def test_other_images_are_refused(other, message):
    one = constants([1, 2, 3, 4])
    with pytest.raises(InputError, match=f"A and B recorded .*{message}.*Expected the same"):
        check_same_images(one, other, "A", "B")
    check_same_images(one, one.copy(), "A", "B")


def test_the_command_prints_a_table_and_writes_pictures_and_netcdf(runs, tmp_path):
    paths = [opened.folder.path for opened in runs]
    done = repdyn(
        "compare", *paths, "--epoch", "1:4", "--epoch", "0", "--layer", "stem:block02",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "A at epoch 1, B at epoch 4" in done.stdout
    assert "stage2_block1" in done.stdout
    with xarray.open_dataset(tmp_path / "out" / "comparison.nc", engine="h5netcdf") as written:
        expected = compare(*runs, [(1, 4), (0, 0)], [("stem", "block02")])
        xarray.testing.assert_equal(written.load(), expected)
    for name in ("layers.png", "epochs.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_by_default_it_is_written_beside_the_first_run(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("repdyn_keras.figures.draw_comparison", lambda *args: [])
    done = repdyn("compare", runs[1].folder.path, runs[0].folder.path)
    assert done.exit_code == 0, done.stderr
    name = f"compare-{runs[1].folder.path.name}-{runs[0].folder.path.name}"
    assert (runs[1].folder.path.parent / name / "comparison.nc").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epoch", "a"], "--epoch 'a' came. Expected a recorded epoch"),
        (["--epoch", "1:2:3"], "--epoch '1:2:3' came"),
        (["--layer", ":stem"], "--layer ':stem' came. Expected one layer, or two"),
        (["--epoch", "99"], "no record of epoch 99"),
    ],
)
def test_bad_options_are_one_message(runs, options, message):
    done = repdyn("compare", *(opened.folder.path for opened in runs), *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_no_run_is_refused(runs, tmp_path):
    done = repdyn("compare", runs[0].folder.path, tmp_path)
    assert done.exit_code == 2
    assert "holds no records" in done.stderr
