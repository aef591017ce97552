"""The programs of `apps/` that train: their output."""

import subprocess
import sys
from pathlib import Path

import pytest

from repdyn_keras import open_run

pytestmark = [pytest.mark.long, pytest.mark.one_backend]
APPS = Path(__file__).parents[1] / "apps"


def output_of(name, out) -> str:
    """The output of a program; a second run with the same folder is rejected."""
    command = [sys.executable, str(APPS / name), "--out", str(out)]
    done, again = (
        subprocess.run(command, capture_output=True, text=True, timeout=500) for _ in range(2)
    )
    assert done.returncode == 0, done.stderr
    assert again.returncode == 2
    assert f"{out} exists. Expected a new folder" in again.stderr
    assert "Traceback" not in again.stderr
    return done.stdout


def test_fine_tuning_changes_deep_layers_but_not_frozen_ones(tmp_path):
    lines = output_of("finetune_with_recorder.py", tmp_path / "out").splitlines()
    rows = [line.split() for line in lines]
    table = {row[0]: [float(v) for v in row[1:]] for row in rows if len(row) == 5 and "." in row[1]}
    body = ["body/stem", "body/block1", "body/block2", "body/block3", "body"]
    assert list(table) == [*body, "output"]
    assert all(table[layer][0] == 1 for layer in body)
    assert table["body"][1] < table["body/block1"][1]
    assert table["output"][3] > 0.9 > table["output"][2]
    assert open_run(tmp_path / "out").dynamics.attrs["class_names"][0] == "five"
    assert (tmp_path / "out" / "cka.png").is_file()


def test_records_of_checkpoints_equal_those_of_the_callback(tmp_path):
    out = output_of("from_checkpoints.py", tmp_path / "out")
    assert out.count(": identical") == 9 and "DIFFERENT" not in out
    assert open_run(tmp_path / "out" / "after").epochs == list(range(9))
