"""The program that sends records to dashboards: what each of them then holds."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import from_file

from repdyn_keras import open_run

pytestmark = [pytest.mark.long, pytest.mark.one_backend, pytest.mark.needs("dashboards")]
PROGRAM = Path(__file__).parents[1] / "apps" / "dashboards.py"
EPOCHS = [0, 1, 2]


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """Runs the program for a dashboard; returns its folder of logs, and the numbers it sent."""
    program = from_file(PROGRAM)
    monkeypatch.chdir(tmp_path)

    def run(name):
        program.train(name, Path("out"), epochs=2)
        dynamics = open_run("out/run").dynamics
        assert dynamics["epoch"].values.tolist() == EPOCHS
        output = dynamics["probe_accuracy"].isel(layer=-1).sel(subset="test").values.tolist()
        return tmp_path / "out" / "logs", output

    return run


def test_tensorboard_holds_scalars_and_images(logs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, test_accuracy = logs("tensorboard")
    held = EventAccumulator(str(folder))
    held.Reload()
    events = held.Scalars("test_accuracy")
    assert [event.step for event in events] == EPOCHS
    assert [event.value for event in events] == pytest.approx(test_accuracy)
    images = held.Images("regions")
    assert len(images) == 3
    assert all(image.encoded_image_string.startswith(b"\x89PNG") for image in images)


def test_mlflow_holds_metrics_and_pictures_in_a_local_folder(logs):
    folder, test_accuracy = logs("mlflow")
    (metric,) = folder.glob("*/*/metrics/test_accuracy")
    values = [float(line.split()[1]) for line in metric.read_text("utf-8").splitlines()]
    assert values == pytest.approx(test_accuracy)
    assert len(list(folder.glob("*/*/artifacts/regions/*.png"))) == 3


def test_wandb_runs_offline(logs):
    folder, _ = logs("wandb")
    (run,) = folder.glob("wandb/offline-run-*")
    assert len(list(run.glob("files/media/images/*.png"))) == 3
    (log,) = run.glob("run-*.wandb")
    assert b"test_accuracy" in log.read_bytes()


def test_an_existing_folder_is_rejected(tmp_path):
    command = [sys.executable, str(PROGRAM), "tensorboard", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and f"{tmp_path} exists. Expected a new folder" in done.stderr
    assert "Traceback" not in done.stderr
