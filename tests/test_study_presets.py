"""The study at the paper's scale: its plan, and three epochs of it on small data."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest

from repdyn_keras.records import read_netcdf
from repdyn_keras.study import preset_file, run_study
from repdyn_keras.study.driver import StudyWatcher
from repdyn_keras.study.local_workers import LocalWorkers
from repdyn_keras.study.study_file import study_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.one_backend,
    pytest.mark.needs("tfds", "tensorflow"),
]
# Prepares 64 images of the shape and with the name of CIFAR-10, in a process of its own.
MAKER = """
import sys
import numpy as np
import tensorflow_datasets as tfds

class Cifar10(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("3.0.2")
    pkg_dir_path = None

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3)),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(
            builder=self, features=features, supervised_keys=("image", "label")
        )

    def _split_generators(self, downloads):
        return {"train": self._generate_examples(64), "test": self._generate_examples(20)}

    def _generate_examples(self, count):
        rng = np.random.default_rng(count)
        for index in range(count):
            image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            yield index, {"image": image, "label": index % 10}

Cifar10.__module__ = "made_for_the_test"
Cifar10(data_dir=sys.argv[1], file_format="array_record").download_and_prepare(
    download_config=tfds.download.DownloadConfig(try_download_gcs=False)
)
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    subprocess.run([sys.executable, "-c", MAKER, folder], check=True, capture_output=True)
    return str(folder)


def test_the_papers_scale_is_planned_and_trains_three_epochs(data_dir, tmp_path):
    content = tomllib.loads(preset_file("cifar10-paper-like").read_text("utf-8"))
    content |= {"data_dir": data_dir, "download": False, "seeds": [0]}
    content["cells"] = [content["cells"][0], content["cells"][3]]
    small = {"planes": 2, "resolution": 3, "n_eval": 32, "cka_batch": 16, "batch_size": 32}
    plans = []

    class Listener(StudyWatcher):
        def planned(self, plan):
            plans.append(plan)

    workers = LocalWorkers(1)
    try:
        whole = study_of(content | small, out=tmp_path / "whole")
        assert not run_study(whole, workers, workers.ask, watcher=Listener(), dry_run=True)
        three = {"epochs": 3, "cells": content["cells"][1:], "recalibrate": False}
        study = study_of(content | small | three, out=tmp_path / "study")
        assert run_study(study, workers, workers.ask, watcher=Listener())
    finally:
        workers.close()
    long, short = plans
    assert not (tmp_path / "whole").exists()
    assert [cell.epochs for cell in long.cells] == [4000, 4000]
    assert long.cells[1].seconds > 100 * short.cells[0].seconds
    assert long.cells[1].peak_bytes > short.cells[0].peak_bytes
    summary = read_netcdf(tmp_path / "study" / "summary.nc")
    assert summary["cell"].values.tolist() == ["vit adam"]
    change = summary["change"].sel(reading="raw", similarity="cka", layer="output")
    assert np.isfinite(change).all()
