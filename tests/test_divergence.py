"""A training whose numbers are no numbers any more: it ends, says where, and what it had stays."""

import math
import re
from ast import literal_eval

import keras
import numpy as np
import pytest
import tomli_w
from helpers import MODEL, SHORT, contents, run, whole_run
from typer.testing import CliRunner

from repdyn_keras import open_run
from repdyn_keras.cli import app
from repdyn_keras.errors import Diverged
from repdyn_keras.experiment.batches import EpochSeeds
from repdyn_keras.records import RunFolder

pytestmark = pytest.mark.usefixtures("without_pictures")

SGD = {
    **SHORT,
    "optimizer": "sgd",
    "schedule": "constant",
    "learning_rate": 0.01,
    "record_epochs": (1, 2),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, without_pictures) -> RunFolder:
    return whole_run(tmp_path_factory.mktemp("whole") / "run", **SGD)


def assert_kept(folder: RunFolder, whole: RunFolder, recorded: list[int]) -> None:
    """The records before are those of a training that went well, and the checkpoint is finite."""
    assert folder.epochs() == recorded
    for epoch in recorded:
        assert folder.record(epoch).identical(whole.record(epoch))
    assert open_run(folder.path).dynamics["epoch"].values.tolist() == recorded
    checkpoint = folder.checkpoint()
    assert checkpoint.attrs["epoch"] == recorded[-1]
    kinds = [kind.split(" of shape ") for kind in checkpoint["kind"].values.tolist()]
    assert len(kinds) > 10
    state, start = checkpoint["state"].values, 0
    for dtype, shape in kinds:
        end = start + np.dtype(dtype).itemsize * int(np.prod(literal_eval(shape)))
        assert np.isfinite(state[start:end].view(dtype)).all()
        start = end
    assert start == len(state)
    assert [int(row["epoch"]) for row in folder.history()] == recorded


def test_a_huge_learning_rate(tmp_path):
    """As a command, from the first epoch on."""
    config = tmp_path / "huge.toml"
    config.write_text(tomli_w.dumps({**SGD, "learning_rate": 1e6}), encoding="utf-8")
    words = ["run", str(config), "--model", MODEL, "--out", str(tmp_path / "run"), "--quiet"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1, done.stderr
    assert done.stderr.count("\n") == 1
    what = r"(the loss is (nan|inf)|a weight is not a finite number), at the learning rate 1e\+06\."
    assert re.search(f"error: The training diverged in epoch 1: {what} The last", done.stderr)
    assert "The last good checkpoint is that of epoch 0" in done.stderr
    assert f"repdyn analyze {tmp_path / 'run'}" in done.stderr
    folder = RunFolder(tmp_path / "run")
    assert folder.epochs() == [0]
    assert [row["epoch"] for row in folder.history()] == ["0"]
    analyzed = CliRunner().invoke(app, ["analyze", str(folder.path)])
    assert analyzed.exit_code == 0, analyzed.stderr
    assert open_run(folder.path).dynamics["epoch"].values.tolist() == [0]


def test_a_training_that_diverges_later(whole, tmp_path, monkeypatch):
    """And that does so again when it is resumed, from the same checkpoint."""
    begin = EpochSeeds.on_epoch_begin

    def on_epoch_begin(self, epoch, logs=None):
        begin(self, epoch, logs)
        if epoch == 2:
            self.model.optimizer.learning_rate = 1e30

    monkeypatch.setattr(EpochSeeds, "on_epoch_begin", on_epoch_begin)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Diverged) as caught:
        run(SGD, out=folder.path)
    assert re.search(r"in epoch 3: the loss is (nan|inf), at the learning rate", str(caught.value))
    assert "1e+30. The last good checkpoint is that of epoch 2" in str(caught.value)
    assert_kept(folder, whole, [0, 1, 2])
    before = contents(folder.records)
    with pytest.raises(Diverged) as again:
        run(SGD, out=folder.path, resume=True)
    assert str(again.value) == str(caught.value)
    assert contents(folder.records) == before


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_never_saved(whole, tmp_path, monkeypatch, value):
    """Where the loss still is: it is that of the weights before the last step."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            weight = self.model.trainable_variables[0]
            held = keras.ops.convert_to_numpy(weight.value).copy()
            held[0, 0] = value
            weight.assign(held)

    monkeypatch.setattr(EpochSeeds, "on_epoch_end", on_epoch_end, raising=False)
    with pytest.raises(Diverged) as caught:
        run(SGD, out=tmp_path / "run")
    said = str(caught.value)
    assert (
        "diverged in epoch 2: a weight is not a finite number, at the learning rate 0.01." in said
    )
    assert "The last good checkpoint is that of epoch 1" in said
    assert_kept(RunFolder(tmp_path / "run"), whole, [0, 1])
