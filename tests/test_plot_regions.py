"""The program that plots decision regions: its output and invalid arguments."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LAYERS, MODEL, contents, from_file
from PIL import Image

from repdyn_keras.records import RunFolder, read_netcdf, write_netcdf

pytestmark = pytest.mark.one_backend

PROGRAM = Path(__file__).parents[1] / "apps" / "plot_regions.py"


@pytest.fixture
def plot(tiny_run, tmp_path, monkeypatch, capsys):
    """Runs the program in this process and an empty folder; returns code, output and files."""
    module = from_file(PROGRAM)
    monkeypatch.chdir(tmp_path)

    def call(line, run=tiny_run.folder.path):
        for path in tmp_path.iterdir():
            path.unlink()
        monkeypatch.setattr(sys, "argv", ["plot_regions.py", str(run), *line.split()])
        with pytest.raises(SystemExit) as ended:
            module.main()
            raise SystemExit(0)
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err, sorted(path.name for path in tmp_path.iterdir())

    return call


def test_selected_layers_and_epochs_are_drawn_in_order(plot):
    first = "--epoch 2 --out r.svg"
    for line, layers, epochs in (
        (f"--layer stage.* {first}", ["stage1_block1", "stage2_block1"], [2]),
        (f"--layer pooled --layer stage1.* {first}", ["stage1_block1", "pooled"], [2]),
        (f"--layer .* {first}", LAYERS, [2]),
        ("--layer stem --out r.svg", ["stem"], [0, 1, 2, 3]),
        ("--layer stem --epoch 3 --epoch 0 --out r.svg", ["stem"], [3, 0]),
    ):
        code, out, err, files = plot(line)
        assert (code, out.split(), files) == (0, ["r.svg"], ["r.svg"]), err
        # matplotlib writes texts as comments next to their outlines.
        words = re.findall(r"<!-- (.*?) -->", Path("r.svg").read_text(encoding="utf-8"))
        assert [word for word in words if word in LAYERS] == layers, line
        assert [int(word) for word in words if word in "0123"] == epochs, line


@pytest.mark.long
def test_the_suffix_selects_the_format_and_planes_share_a_sheet(plot):
    few = "--layer stem --epoch 0"
    for line, names, start in (
        (f"{few} --out r.pdf", ["r.pdf"], b"%PDF"),
        (f"{few} --out r.SVG --plane 2", ["r.SVG"], b"<?xml"),
        (f"{few} --plane 0 --plane 2", ["regions.png"], b"\x89PNG"),
        ("--layer stem --animate", ["regions.gif"], b"GIF8"),
        (
            "--layer stem --animate --plane 1 --plane 2 --out r.GIF",
            ["r-plane1.GIF", "r-plane2.GIF"],
            b"GIF8",
        ),
    ):
        code, out, err, files = plot(line)
        assert code == 0 and out.split() == files == names, err
        contents = [Path(name).read_bytes() for name in files]
        assert all(data.startswith(start) for data in contents)
        assert len(set(contents)) == len(files), "planes differ"
        if "--animate" in line:
            with Image.open(files[0]) as animation:
                assert animation.n_frames == 4, "a frame for each recorded epoch"
        if names == ["r.SVG"]:
            assert re.search(r"<!-- (.*· )?plane 2", contents[0].decode())


@pytest.mark.long
def test_planes_of_ones_own_and_finer_grids_come_from_the_weights(plot, tiny_run):
    """The recorded planes and grids, classified again, are those of the run."""
    folder, before = tiny_run.folder, contents(tiny_run.folder.path)
    code, out, err, files = plot("--images 3,17,42 --images 5,6,7 --resolution 11 --out r.svg")
    assert (code, out.split()) == (0, ["r.svg"]), err
    words = re.findall(r"<!-- (.*?) -->", Path("r.svg").read_text(encoding="utf-8"))
    assert any("planes 3-17-42, 5-6-7" in word for word in words)
    assert [int(word) for word in words if word in "0123"] == [0, 1, 2, 3]
    module, dynamics = from_file(PROGRAM), read_netcdf(folder.dynamics_file)
    planes = {n: dynamics["plane_sample"].values[n].tolist() for n in (1, 0)}
    side = dynamics.sizes["row_drawn"]
    again = module.classified_again(folder.path, planes, side, [3, 0], None)
    assert again["plane"].values.tolist() == [1, 0]
    held = dynamics["regions_drawn"].isel(plane_drawn=[1, 0]).sel(epoch=[0, 3])
    assert again["regions_drawn"].identical(held)
    assert again.attrs["title"] == dynamics.attrs["title"]
    assert contents(folder.path) == before, "nothing is written into the run"


@pytest.mark.long
def test_missing_weights_are_named_with_what_mends_it(plot, tiny_run, tmp_path_factory):
    copy = RunFolder(tmp_path_factory.mktemp("copy") / "run")
    shutil.copytree(tiny_run.folder.path, copy.path)
    # An early record, at step 1 of 11.
    copy.write_record(0.090909, copy.record(1).assign_attrs(epoch=1 / 11))
    copy.weights_file(2).unlink()
    planes = "--set 'planes=[[3,17,42]]'"
    for line, epochs, changed in (
        ("--images 3,17,42", "epochs 0.09, 2", planes),
        ("--resolution 20 --epoch 0.09", "epoch 0.09", "--set drawn_resolution=20"),
        ("--resolution 20 --images 3,17,42 --animate", "epochs 0.09, 2", planes),
    ):
        code, out, err, files = plot(line, copy.path)
        assert (code, files) == (2, []) and "Traceback" not in err
        for word in (f"weights of {epochs}.", "keep_weights=true", f"--like {copy.path} {changed}"):
            assert word in err, err
    shutil.copyfile(copy.weights_file(1), copy.weights_file(0.090909))
    code, _, err, files = plot("--resolution 20 --epoch 0.09 --layer stem", copy.path)
    assert (code, files) == (0, ["regions.png"]), err
    code, *_ = plot("--images 3,17,42 --epoch 1 --layer stem", copy.path)
    assert code == 0, "only the weights of epochs that are drawn are needed"


@pytest.mark.long
def test_a_run_of_ones_own_code_and_without_planes_is_classified_if_its_code_is_named(plot, whole):
    line = "--images 3,17,42 --resolution 9"
    code, out, err, files = plot(line, whole.path)
    assert (code, files) == (2, []) and f"--model {MODEL}" in err
    code, out, err, files = plot(f"{line} --model {MODEL}", whole.path)
    assert (code, files) == (0, ["regions.png"]), err
    two = "--images 3,17,42 --images 0,1,2 --layer output --animate"
    code, out, err, files = plot(f"{two} --model {MODEL}", whole.path)
    assert (code, files) == (0, ["regions-plane0-1-2.gif", "regions-plane3-17-42.gif"]), err


REJECTED = {
    "--images 3,17": ["three training images", "'3,17'"],
    "--images 3,17,x": ["three training images", "'3,17,x'"],
    "--images 3,17,3": ["--images", "repeats an id"],
    "--images 3,17,42 --images 42,3,17": ["different triplets in --images"],
    "--images 3,17,420": ["image ids from 0 to 127", "420"],
    "--images 3,17,42 --plane 1": ["--plane or --images"],
    "--images 3,17,42 --epoch 9": ["epoch 9", "0, 1, 2, 3"],
    "--resolution 1": ["--resolution", "2"],
    "--resolution 20 --plane 9": ["plane 9", "0, 1, 2"],
    "--layer stam": ["'stam'", *LAYERS],
    "--layer stem --layer stage9.*": ["'stage9.*'", *LAYERS],
    "--layer sta(ge": ["'sta(ge'", "regular expression", *LAYERS],
    "--epoch 1 --epoch -1": ["epoch -1", "0, 1, 2, 3"],
    "--epoch last": ["--epoch", "number"],
    "--epoch 1.5": ["epoch 1.5", "0, 1, 2, 3"],
    "--plane 0 --plane 99": ["plane 99", "0, 1, 2"],
    "--out regions.gif": [".gif", ".png", ".pdf", ".svg", "--animate"],
    "--out regions": [".png", ".pdf", ".svg"],
    "--out nowhere/regions.png": ["nowhere"],
    "--animate --out regions.png": [".png", ".gif", "--animate"],
    "--animate --epoch 1": ["--epoch", "--animate", "every recorded epoch"],
    "--animate --layer stam": ["'stam'", *LAYERS],
    "--animate --plane 0 --plane 99": ["plane 99", "0, 1, 2"],
    "--layr stem": ["--layr"],
    "--width 1": ["between 2.5 and 60", "inches"],
}


def test_unknown_values_are_rejected_with_valid_ones(plot, tiny_run, tmp_path_factory):
    without = RunFolder(tmp_path_factory.mktemp("without"))
    constants = tiny_run.folder.constants()
    without.write_constants(constants.drop_vars([n for n in constants if n.startswith("plane_")]))
    without.write_record(0, tiny_run.folder.record(0))
    dynamics = read_netcdf(tiny_run.folder.dynamics_file)
    dropped = [name for name in dynamics if "region" in name or name.startswith("plane_")]
    write_netcdf(dynamics.drop_vars([*dropped, "fragments"]), without.dynamics_file)
    (without.path / "r.png").mkdir()
    cases = [(line, tiny_run.folder.path, words) for line, words in REJECTED.items()]
    cases += [(line, without.path, ["regions", "planes"]) for line in ("", "--animate")]
    cases += [("", "none", ["none", "run folder"])]
    cases += [("", "none.keras", ["none.keras", "MODEL"])]
    folder = f"--layer stem --epoch 0 --out {without.path / 'r.png'}"
    cases += [(folder, tiny_run.folder.path, ["r.png"])]
    for line, run, words in cases:
        code, out, err, files = plot(line, run)
        assert (code, files) == (2, []), (line, err)
        assert "Traceback" not in out + err and "error" in err.lower()
        for word in words:
            assert word in err, f"{word!r} is not in {err!r}"


@pytest.mark.long
def test_the_program_runs_in_a_separate_process_without_a_backend(tiny_run, tmp_path):
    hidden = "; ".join(f"sys.modules[{name!r}] = None" for name in ("keras", "jax", "torch"))
    code = f"import runpy, sys; {hidden}; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    line = f"{tiny_run.folder.path} --layer output --epoch 3 --out r.png"
    command = [sys.executable, "-c", code, *line.split()]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["r.png"]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_a_saved_model_is_drawn_without_a_run(plot, tmp_path_factory):
    import keras
    from keras import layers

    images = keras.Input((8, 8, 1))
    hidden = layers.Dense(12, activation="relu", name="hidden")(layers.Flatten()(images))
    model = keras.Model(images, layers.Dense(10, name="head")(hidden))
    file = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(file)
    code, out, err, files = plot("--plane 1 --out r.svg", file)
    assert (code, files) == (0, ["r.svg"]), err
    assert out.split()[-1] == "r.svg"
    words = re.findall(r"<!-- (.*?) -->", Path("r.svg").read_text(encoding="utf-8"))
    assert {"hidden", "output", "model", "model.keras"} <= set(words) and "epoch" not in words
    code, out, err, files = plot("--images 3,17,42 --resolution 9 --out r.svg", file)
    assert (code, files) == (0, ["r.svg"]), err
    assert "plane 3-17-42" in Path("r.svg").read_text(encoding="utf-8")
