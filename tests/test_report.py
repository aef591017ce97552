"""The page of a run: its numbers, its sentences, and pages of unusual runs."""

import base64
import gzip
import html
import json
import re
import struct

import numpy as np
import pytest
from helpers import WRITTEN_EPOCHS, WRITTEN_LAYERS, assert_rejected, repdyn, write_run

from repdyn_keras import open_run
from repdyn_keras.dynamics.story import story
from repdyn_keras.experiment.drawing import draw
from repdyn_keras.experiment.watcher import Watcher
from repdyn_keras.report import report_html
from repdyn_keras.report.events import events
from repdyn_keras.report.payload import DTYPES
from repdyn_keras.report.run_data import MAX_LAYERS
from repdyn_keras.report.run_page import page_of

pytestmark = pytest.mark.one_backend
STRANGE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"quotes' and ümläut \u202e",
    "x" * 300,
    "{{ 7 * 7 }} ${x}",
    "output",
)


def unpacked(page: str):
    """Header and arrays of the block in a page, read by its description alone."""
    block = re.search(r'<script type="application/octet-stream" id="data">([^<]*)<', page)[1]
    data = gzip.decompress(base64.b64decode(block))
    (length,) = struct.unpack("<I", data[:4])
    header = json.loads(data[4 : 4 + length])
    start = -(-(4 + length) // 4) * 4
    arrays = {}
    for name, place in header["arrays"].items():
        dtype, count = np.dtype(DTYPES[place["dtype"]]), int(np.prod(place["shape"]))
        values = np.frombuffer(data, dtype, count, start + place["offset"])
        arrays[name] = values.reshape(place["shape"])
    return header, arrays


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return open_run(write_run(tmp_path_factory.mktemp("run") / "run").path)


@pytest.fixture(scope="module")
def page(run):
    return report_html(run)


def test_the_page_holds_the_numbers_of_the_dataset(run, page):
    header, arrays = unpacked(page)
    dynamics = run.dynamics
    assert header["layers"] == list(WRITTEN_LAYERS)
    assert header["epochs"] == list(WRITTEN_EPOCHS)
    rows, columns = np.triu_indices(len(WRITTEN_EPOCHS))
    for measure in header["measures"]:
        values = dynamics[measure["key"]].values.astype(np.float32)
        np.testing.assert_array_equal(arrays[measure["key"]], values[:, rows, columns])
        np.testing.assert_array_equal(values, values.swapaxes(1, 2), "the triangle says all")
        interval = dynamics[f"{measure['key']}_interval"].values.astype(np.float32)
        stored = np.moveaxis(arrays[f"{measure['key']}_interval"], 0, -1)
        np.testing.assert_array_equal(stored, interval[:, rows, columns])
    for index in range(len(header["planes"])):
        maps = dynamics["regions"].isel(plane=index).values
        np.testing.assert_array_equal(arrays[f"regions{index}"], maps)
    accuracy = dynamics["probe_accuracy"].transpose("subset", "layer", "epoch")
    keys = [subset["key"] for subset in header["subsets"]]
    np.testing.assert_array_equal(
        arrays["probe_accuracy"], accuracy.sel(subset=keys).values.astype(np.float32)
    )
    matrix = dynamics["synchronization"].values.astype(np.float32)
    np.testing.assert_array_equal(arrays["synchronization"], matrix)


def test_a_page_needs_nothing_else_and_is_the_same_again(run, page):
    assert report_html(run) == page
    addresses = set(re.findall(r"""(?:src|href|url|@import)\s*[=(]\s*["']?([^"')\s>]+)""", page))
    assert all(each.startswith(("#", "data:")) for each in addresses), addresses
    assert "default-src 'none'" in html.unescape(page) and len(page) < 3_000_000
    size = f"{len(WRITTEN_EPOCHS)} recorded epochs, from 0 to 32; {len(WRITTEN_LAYERS)} layers"
    assert size in page


CASES = {
    "one record": {"epochs": (0,)},
    "two records": {"epochs": (0, 5)},
    "no planes": {"planes": False},
    "no labels": {"labels": False},
    "similarities alone": {"labels": False, "planes": False},
    "a dead layer": {"bad": [(epoch, "stem", "dead") for epoch in WRITTEN_EPOCHS]},
    "NaN": {"bad": [(WRITTEN_EPOCHS[3], "pooled", "not finite")]},
    "strange names": {"layers": STRANGE},
}


@pytest.mark.parametrize("case", CASES)
def test_a_page_stays_whole_and_says_what_is_absent(case, tmp_path):
    opened = open_run(write_run(tmp_path / "run", **CASES[case]).path)
    made = report_html(opened)
    header, arrays = unpacked(made)
    assert len(re.findall(r"<section[ >]", made)) == made.count("</section>") == 8
    sentences = story(opened.dynamics, [])
    assert 4 <= len(sentences) <= 8
    assert not any("nan" in sentence.lower().split() for sentence in sentences), sentences
    said = {
        "one record": "Only one epoch was recorded",
        "two records": "Fewer than 8 recorded epochs: no phases",
        "no planes": "recorded no planes",
        "no labels": "recorded no labels",
        "similarities alone": "recorded no planes",
        "a dead layer": "at every epoch, and left out: stem",
        "NaN": "at epoch 3, and left out: pooled",
        "strange names": "&lt;script&gt;alert(1)",
    }
    assert said[case] in made
    assert made.count("<script") == 2, "no name becomes an element"
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", made)
    assert "{{" not in made.replace("{{ 7 * 7 }}", "")


def test_of_many_layers_some_are_shown(tmp_path):
    layers = (*(f"block{index:03d}" for index in range(59)), "output")
    opened = open_run(write_run(tmp_path / "run", layers, planes=False, epochs=(0, 1)).path)
    header, _ = unpacked(report_html(opened))
    assert len(header["layers"]) == MAX_LAYERS
    assert (header["layers"][0], header["layers"][-1]) == ("block000", "output")


def test_of_many_epochs_some_are_shown_and_all_borders(run, monkeypatch):
    monkeypatch.setattr("repdyn_keras.report.run_data.MAX_EPOCHS", 5)
    dynamics = run.dynamics.copy(deep=True)
    kinds = np.zeros(dynamics["border_kind"].shape, int)
    kinds[1, 1:10:4] = 1, 2, 1
    dynamics["border_kind"] = dynamics["border_kind"].dims, kinds
    header, arrays = unpacked(page_of(dynamics))
    shown = np.array(header["epochs"])
    assert len(shown) <= 6 and {0, 16, 32} <= set(shown)
    found = header["measures"][0]["borders"][1]
    wanted = [WRITTEN_EPOCHS[at] for at in (1, 5, 9)]
    assert [index for index, _ in found] == np.searchsorted(shown, wanted).tolist()
    assert [kind for _, kind in found] == ["state", "freeze", "state"]
    assert {event["epoch"] for event in header["events"]} == {*wanted, 16}
    assert max(header["start"]["epoch"], header["start"]["other"]) < len(shown)
    assert arrays["cka"].shape[1] == len(shown) * (len(shown) + 1) // 2


def test_labels_beyond_the_classes_of_the_output_have_colours(run):
    dynamics = run.dynamics.copy()
    dynamics["plane_label"] = dynamics["plane_label"] + 9
    header, _ = unpacked(page_of(dynamics))
    assert len(header["classes"]) == 12
    assert {corner["true"] for plane in header["planes"] for corner in plane["corners"]} <= {
        *range(12)
    }


def test_the_least_synchronous_pair_is_of_two_layers(run):
    dynamics = run.dynamics.copy()
    dynamics["synchronization"] = dynamics["synchronization"] * 0 + 1
    told = " ".join(story(dynamics, []))
    first, second = re.search(r"Of all layers, (\S+) and (\S+) are the least", told).groups()
    assert first != second


def test_steps_of_the_learning_rate_are_told_from_decay(run):
    def steps(rates):
        rows = [{"epoch": float(e), "learning_rate": rate} for e, rate in enumerate(rates)]
        return [each["epoch"] for each in events(run.dynamics, rows) if each["kind"] == "rate"]

    epochs = np.arange(1, 41)
    cosine = 0.05 * (1 + np.cos(np.pi * epochs / 41))
    inverse = 0.1 / np.sqrt(epochs)
    assert steps([np.nan, *cosine]) == steps([np.nan, *inverse]) == steps([0.1] * 9) == []
    assert steps([0.1] * 10 + [0.01] * 10 + [0.001] * 10) == [10, 20]
    assert steps([np.nan, *np.where(epochs < 20, cosine, cosine / 10)]) == [20]
    assert steps([0.1, 0.01]) == [1]


@pytest.mark.parametrize("name", ["run.toml", "record.toml"])
def test_report_false_leaves_the_page_out(name, tmp_path, monkeypatch):
    monkeypatch.setattr("repdyn_keras.figures.draw_all", lambda *given, **more: [])
    folder = write_run(tmp_path / "run", epochs=(0, 1), planes=False)
    for content, is_written in (("report = false", False), ("report = true", True)):
        (folder.path / name).write_text(content, encoding="utf-8")
        with folder.locked():
            draw(folder, Watcher())
        assert folder.report_file.is_file() == is_written


def test_classes_and_epochs_of_any_number(run):
    dynamics = run.dynamics.copy()
    fractions = {name: dynamics[name].values / 4 for name in ("epoch", "epoch_other")}
    dynamics = dynamics.assign_coords(fractions)
    dynamics["regions"] = dynamics["regions"].astype(np.uint16) * 300
    dynamics["plane_label"] = dynamics["plane_label"] * 300
    dynamics.attrs |= {"n_classes": 1000, "perfect_fit_epoch": 4.0}
    header, arrays = unpacked(page_of(dynamics))
    assert header["epochs"] == [epoch / 4 for epoch in WRITTEN_EPOCHS]
    assert len(header["classes"]) == 1000 and arrays["regions0"].dtype == np.uint16
    np.testing.assert_array_equal(arrays["regions0"], dynamics["regions"].isel(plane=0).values)


def test_the_story_tells_the_fit_and_the_memorization(run):
    dynamics = run.dynamics.copy(deep=True)
    accuracy = dynamics["probe_accuracy"].transpose("layer", "epoch", "subset").values
    # train, clean, memorized, resisted, test
    accuracy[-1] = 0.1
    accuracy[-1, :, 0] = np.linspace(0.1, 1, len(WRITTEN_EPOCHS))
    accuracy[-1, :, 2] = [0, 0, 0, 0.2, 0.3, 0.5, 0.7, 0.95, 1, 1, 1]
    accuracy[-1, :, 3] = [0.1, 0.8, 0.6, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0]
    accuracy[-1, :, 4] = [0.1, 0.9, 0.85, 0.8, 0.8, 0.8, 0.8, 0.75, 0.75, 0.75, 0.75]
    dynamics["probe_accuracy"] = ("layer", "epoch", "subset"), accuracy
    dynamics.attrs["perfect_fit_epoch"] = 16.0
    told = " ".join(story(dynamics, []))
    assert "perfect fit (99.5% of the training labels) at epoch 16 (the record before is of" in told
    assert "peaked at 90% (epoch 1) and ended at 75%" in told
    # With 4 classes, a quarter is chance: from 0.325 and 0.925 on.
    assert "between epochs 6 and 11 (10% and 90% of the way from chance" in told
    assert "true class of up to 80% of these images (epoch 1)" in told
    cka = dynamics["cka"].sel(epoch=6, epoch_other=11).values
    most = WRITTEN_LAYERS[cka.argmin()]
    assert f"(epochs 6 to 11) is {most}: the CKA (centered kernel alignment)" in told
    assert f" of its two states is {cka.min():.2f}," in told
    header, _ = unpacked(page_of(dynamics))
    assert header["start"] == {"layer": cka.argmin(), "epoch": 5, "other": 7}
    dynamics.attrs["perfect_fit_epoch"] = float("nan")
    assert "did not reach its perfect fit" in story(dynamics, [])[0]
    assert "at most 100.0% of them right, at epoch 32" in story(dynamics, [])[0]


def test_several_runs_on_one_page(tmp_path):
    paths = [write_run(tmp_path / name, planes=False, epochs=(0, 1)).path for name in "ab"]
    done = repdyn("report", *paths)
    file = tmp_path / "compare-a-b" / "report.html"
    assert done.stdout.strip() == str(file)
    assert file.read_text("utf-8").count("<iframe") == 2
    for given in ([paths[0]] * 5, [paths[0], "--out", tmp_path]):
        assert_rejected(repdyn("report", *given), ["Expected one folder, or 2 to 4"])
    assert_rejected(repdyn("report", *paths, tmp_path / "none"), ["none"])


def test_the_command_writes_the_page_and_refuses_a_damaged_run(tmp_path):
    folder = write_run(tmp_path / "run")
    assert repdyn("analyze", folder.path).exit_code == 0
    done = repdyn("report", folder.path)
    assert done.exit_code == 0 and done.stdout.strip() == str(folder.report_file)
    assert repdyn("doctor", folder.path).exit_code == 0
    record = folder.record_file(WRITTEN_EPOCHS[1])
    record.write_bytes(record.read_bytes()[:-50])
    assert_rejected(repdyn("report", folder.path), ["epoch-000001.nc", "doctor"])
