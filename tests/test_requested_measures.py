"""Measures that `repdyn analyze --measure` computes: from Gram entries, and from features."""

import itertools

import numpy as np
import pytest
import scipy.stats
from helpers import BATCH, WRITTEN_EPOCHS, WRITTEN_LAYERS, N, assert_rejected, repdyn, write_run

from repdyn_keras import InputError, open_run
from repdyn_keras.dynamics import analyze
from repdyn_keras.figures import Selection, draw_all
from repdyn_keras.figures.parts.other_similarities import OTHERS
from repdyn_keras.figures.plot_similarity import WORDS
from repdyn_keras.measures import on_request
from repdyn_keras.measures.permutation_null import (
    coincidence_sums,
    permutation_mean,
    permutation_variance,
)
from repdyn_keras.report.run_data import run_data

pytestmark = pytest.mark.without_keras

GRAM_MEASURES = ("rsa", "mutual_knn")


@pytest.mark.parametrize("symmetric", [True, False])
def test_the_null_is_that_of_all_permutations(symmetric):
    b = 5
    matrices = np.random.default_rng(0).normal(size=(2, b, b))
    matrices = matrices + matrices.swapaxes(1, 2) if symmetric else matrices
    matrices[:, range(b), range(b)] = 0
    first, second = matrices
    drawn = [
        (first * second[np.ix_(order, order)]).sum()
        for order in map(list, itertools.permutations(range(b)))
    ]
    mean = permutation_mean(matrices.sum(axis=(1, 2)), b)
    variance = permutation_variance(coincidence_sums(matrices), mean, b)
    assert mean[0, 1] == pytest.approx(np.mean(drawn))
    assert variance[0, 1] == pytest.approx(np.var(drawn))
    np.testing.assert_allclose(variance, variance.T)


def gram_entries(folder, layer: int, epoch: int) -> list[np.ndarray]:
    """For each batch, (b, b) its U-centred Gram entries, with NaN on the diagonal."""
    prints = folder.fingerprints([epoch], slice(layer, layer + 1))[0, 0]
    found = []
    for part in np.split(prints, N // BATCH):
        matrix = np.full((BATCH, BATCH), np.nan)
        matrix[np.triu_indices(BATCH, 1)] = matrix.T[np.triu_indices(BATCH, 1)] = part
        found.append(matrix)
    return found


@pytest.fixture(scope="module")
def requested(tmp_path_factory):
    """A written run with both measures, and one dead record."""
    folder = write_run(tmp_path_factory.mktemp("run") / "run", bad=[(2, "pooled", "dead")])
    analyze(folder, measures=GRAM_MEASURES)
    return folder


def test_values_from_records_are_those_of_scipy(requested):
    found = requested.dynamics()
    upper = np.triu_indices(BATCH, 1)
    for layer, s, t in ((0, 0, 4), (3, 2, 10), (5, 1, 1)):
        pairs = [gram_entries(requested, layer, WRITTEN_EPOCHS[at]) for at in (s, t)]
        correlations = [
            scipy.stats.spearmanr(a[upper], b[upper]).statistic for a, b in zip(*pairs, strict=True)
        ]
        value = found["similarity_rsa"].values[layer, s, t]
        assert value == pytest.approx(np.mean(correlations), abs=1e-6)
        shared = [
            len(
                {*np.argsort(-np.nan_to_num(x, nan=-np.inf))[:10]}
                & {*np.argsort(-np.nan_to_num(y, nan=-np.inf))[:10]}
            )
            for a, b in zip(*pairs, strict=True)
            for x, y in zip(a, b, strict=True)
        ]
        value = found["similarity_mutual_knn"].values[layer, s, t]
        assert value == pytest.approx(np.mean(shared) / 10, abs=1e-6)
    assert found.attrs["mutual_knn_k"] == 10


def test_null_values_from_records(requested):
    """The mean of rank correlations is 0, that of shared neighbours k / (b - 1)."""
    found = requested.dynamics()
    for name, mean in (("rsa", 0), ("mutual_knn", 10 / (BATCH - 1))):
        values, null = found[f"similarity_{name}"], found[f"similarity_{name}_null"]
        assert null.dims == ("layer", "epoch", "epoch_other", "statistic")
        defined = values.notnull()
        assert (null.sel(statistic="mean").notnull() == defined).all()
        np.testing.assert_allclose(null.sel(statistic="mean").values[defined], mean, atol=1e-9)
        deviations = null.sel(statistic="deviation").values[defined.values]
        assert ((0.01 < deviations) & (deviations < 0.15)).all(), name
        pooled, epoch = WRITTEN_LAYERS.index("pooled"), WRITTEN_EPOCHS.index(2)
        expected = np.ones(values.shape, bool)
        expected[pooled, epoch] = expected[pooled, :, epoch] = False
        assert (defined.values == expected).all(), name
        diagonal = np.einsum("lee->le", values.values)[defined.values[:, range(11), range(11)]]
        np.testing.assert_allclose(diagonal, 1)


def test_requested_measures_survive_later_analyses(requested, tmp_path):
    folder = write_run(tmp_path / "run", planes=False, labels=False)
    plain = analyze(folder)
    assert not [name for name in plain.variables if str(name).startswith("similarity_")]
    assert "measures" not in plain.attrs and "statistic" not in plain.coords
    analyze(folder, measures=["rsa"])
    kept = analyze(folder)
    assert kept.attrs["measures"] == "rsa" and "similarity_rsa_null" in kept
    both = analyze(folder, measures=["mutual_knn"])
    assert both.attrs["measures"] == "mutual_knn rsa"
    assert both["cka"].equals(plain["cka"]), "CKA is as before"
    # Without its last record, the file is outdated.
    folder.remove_record(32)
    assert folder.epochs()[-1] == 23
    reread = open_run(folder.path).dynamics
    assert reread["similarity_rsa"].shape == reread["cka"].shape == (6, 10, 10)
    assert "similarity_mutual_knn" in reread


def test_the_command_names_what_is_wrong(tmp_path):
    folder = write_run(tmp_path / "run", planes=False, labels=False)
    result = repdyn("analyze", folder.path, "--measure", "rsa", "--measure", "mutual_knn")
    assert result.exit_code == 0, result.output
    assert {"similarity_rsa", "similarity_mutual_knn"} <= set(folder.dynamics())
    assert_rejected(repdyn("analyze", folder.path, "--measure", "rsaa"), ["measure", "rsa"])
    assert "similarity_rsa" in folder.dynamics(), "the file is as before"


@pytest.mark.usefixtures("coarse_figures")
def test_requested_measures_are_drawn_and_on_the_page(requested, tmp_path):
    dynamics = requested.dynamics()
    held = [name for name in dynamics.data_vars if str(name).startswith("similarity_")]
    with pytest.raises(InputError, match="`repdyn analyze RUN --measure svcca` computes it"):
        draw_all(dynamics[held], tmp_path, selection=Selection(measures=("similarity_svcca",)))
    names = [path.name for path in draw_all(dynamics[held], tmp_path)]
    assert names == ["similarity_rsa.png", "similarity_mutual_knn.png"]
    named = Selection(measures=("mutual_knn", "similarity_rsa"))
    again = [path.name for path in draw_all(dynamics[held], tmp_path, selection=named)]
    assert again == names, "a measure is named as for `repdyn analyze`, or by its variable"
    measures = {each["key"]: each for each in run_data(dynamics, [])[0]["measures"]}
    assert list(OTHERS) == on_request()
    shown = measures["similarity_mutual_knn"]
    assert shown["name"] == WORDS["similarity_mutual_knn"].name == "Mutual kNN"
    assert "unrelated representations" in shown["floors"][0]["text"]
    assert shown["floors"][0]["middle"] > 10 / (BATCH - 1)


def test_the_neighbours_of_small_batches(tmp_path):
    """With n - 1 neighbours, everything is alike: a batch of 4 images has 2."""
    from repdyn_keras.measures.cka import fingerprint

    folder = write_run(tmp_path / "run", epochs=range(6), planes=False, labels=False)
    constants = folder.constants()
    folder.write_constants(constants.assign_attrs(batch=4))
    draw = np.random.default_rng(0)
    for epoch in folder.epochs():
        record = folder.record(epoch)
        prints = [fingerprint(draw.normal(size=(N, 3)), batch_size=4) for _ in WRITTEN_LAYERS]
        prints = np.float32(prints)
        folder.write_record(
            epoch, record.drop_vars("fingerprint").assign(fingerprint=(("layer", "pair"), prints))
        )
    found = analyze(folder, measures=GRAM_MEASURES)
    assert found.attrs["mutual_knn_k"] == 2
    values = found["similarity_mutual_knn"].values
    apart = values[:, ~np.eye(values.shape[1], dtype=bool)]
    assert apart.mean() == pytest.approx(2 / 3, abs=0.03)
    with pytest.raises(InputError, match="Unknown measure"):
        analyze(folder, measures=["cka"])
