"""Divergence: a training with a non-finite loss or weight ends, and its records are kept."""

import math
import re

import keras
import pytest
import tomli_w
from helpers import MODEL, SHORT, differences, repdyn, resumed, run, whole_run

from repdyn_keras import open_run
from repdyn_keras.errors import Diverged
from repdyn_keras.experiment.survival.batches import EpochSeeds
from repdyn_keras.records import RunFolder

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("without_pictures")]

SGD = {**SHORT, "optimizer": "sgd", "schedule": "constant", "learning_rate": 0.01}
SGD["early_records"] = 0
SGD["record_epochs"] = (1, 2)
LOSS, WEIGHT = r"the loss is (nan|inf)", "a weight is not finite"


def test_a_run_with_a_huge_learning_rate_reports_divergence(tmp_path):
    """From the first epoch on, with the command."""
    config, folder = tmp_path / "huge.toml", RunFolder(tmp_path / "run")
    config.write_text(tomli_w.dumps({**SGD, "learning_rate": 1e6}), encoding="utf-8")
    done = repdyn("run", config, "--model", MODEL, "--out", folder.path, "--quiet")
    assert done.exit_code == 1, done.stderr
    assert done.stderr.count("\n") == 1
    what = rf"({LOSS}|{WEIGHT}), at the learning rate 1e\+06\."
    assert re.search(f"error: The training diverged in epoch 1: {what} The last", done.stderr)
    assert "The last good checkpoint is that of epoch 0" in done.stderr
    assert f"repdyn analyze {folder.path}" in done.stderr
    assert folder.epochs() == [0]
    assert [row["epoch"] for row in folder.history()] == ["0"]
    analyzed = repdyn("analyze", folder.path)
    assert analyzed.exit_code == 0, analyzed.stderr
    assert open_run(folder.path).dynamics["epoch"].values.tolist() == [0]


@pytest.mark.parametrize(
    "value", [math.nan, *(pytest.param(v, marks=pytest.mark.one_backend) for v in (1e30, math.inf))]
)
def test_a_training_that_diverges_later_keeps_its_last_good_checkpoint(
    tmp_path, monkeypatch, value
):
    """With a non-finite loss, or a non-finite weight while the loss is still finite.

    A resumed training diverges again. Non-finite states are never saved: once the cause is removed,
    the resumed run is bit-identical to one that never diverged.
    """
    begin = EpochSeeds.on_epoch_begin

    def on_epoch_begin(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch == 2 and value == 1e30:
            self.model.optimizer.learning_rate = value

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and value != 1e30:
            weight = self.model.trainable_variables[0]
            held = keras.ops.convert_to_numpy(weight.value).copy()
            held[0, 0] = value
            weight.assign(held)

    whole, folder = whole_run(tmp_path / "whole", **SGD), RunFolder(tmp_path / "run")
    last, what, rate = (2, LOSS, r"1e\+30") if value == 1e30 else (1, WEIGHT, "0.01")
    message = (
        rf"in epoch {last + 1}: {what}, at the .*{rate}\. .*checkpoint is that of epoch {last}\."
    )
    with monkeypatch.context() as patch:
        patch.setattr(EpochSeeds, "on_epoch_begin", on_epoch_begin)
        patch.setattr(EpochSeeds, "on_epoch_end", on_epoch_end, raising=False)
        for resume in (False, True):
            with pytest.raises(Diverged, match=message):
                run(SGD, out=folder.path, resume=resume)
            assert folder.epochs() == list(range(last + 1))
            assert [int(row["epoch"]) for row in folder.history()] == folder.epochs()
            assert folder.checkpoint().attrs["epoch"] == last
    resumed(folder.path)
    assert differences(whole, folder) == []
