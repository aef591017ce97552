"""The programs of `apps/` that train: what they print is what they promise."""

import subprocess
import sys
from pathlib import Path

import pytest

from repdyn_keras import open_run

APPS = Path(__file__).parents[1] / "apps"


def program(name, *arguments):
    command = [sys.executable, str(APPS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.mark.long
def test_fine_tuning_leaves_frozen_layers_alone_and_moves_deep_ones(tmp_path):
    done = program("finetune_with_recorder.py", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    table = {row[0]: [float(v) for v in row[1:]] for row in rows if len(row) == 5 and "." in row[1]}
    body = ["body/stem", "body/block1", "body/block2", "body/block3", "body"]
    assert list(table) == [*body, "output"]
    assert all(table[layer][0] == 1 for layer in body)
    assert table["body"][1] < table["body/block1"][1]
    assert table["output"][3] > 0.9 > table["output"][2]
    dynamics = open_run(tmp_path / "out").dynamics
    assert dynamics.attrs["class_names"][0] == "five"
    assert (tmp_path / "out" / "cka.png").is_file()


@pytest.mark.long
def test_records_of_checkpoints_are_those_of_the_callback(tmp_path):
    done = program("from_checkpoints.py", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": identical") == 9
    assert "DIFFERENT" not in done.stdout
    assert open_run(tmp_path / "out" / "after").epochs == list(range(9))


@pytest.mark.parametrize("name", ["finetune_with_recorder.py", "from_checkpoints.py"])
def test_an_existing_folder_is_refused(tmp_path, name):
    done = program(name, "--out", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} exists. Expected a new folder" in done.stderr
    assert "Traceback" not in done.stderr
