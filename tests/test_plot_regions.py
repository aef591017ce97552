"""The program that plots decision regions: what it draws, and how it refuses what is not there."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LAYERS
from PIL import Image

PROGRAM = Path(__file__).parents[1] / "apps" / "plot_regions.py"


@pytest.fixture
def plot(tiny_run, tmp_path, monkeypatch, capsys):
    """The program in this process and in an empty current folder."""
    spec = importlib.util.spec_from_file_location("plot_regions", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)

    def call(*arguments, run=tiny_run.folder.path):
        monkeypatch.setattr(sys, "argv", ["plot_regions.py", str(run), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            module.main()
            raise SystemExit(0)
        code = ended.value.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


def texts(path: Path) -> list[str]:
    """The words of an SVG, which matplotlib writes as comments beside their outlines."""
    return re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8"))


def drawn(path: Path) -> tuple[list[str], list[int]]:
    """Layers and epochs that label the rows and columns of an SVG."""
    words = texts(path)
    return [w for w in words if w in LAYERS], [int(w) for w in words if w.isdigit() and len(w) == 1]


def assert_refused(result, words, folder: Path):
    code, out, err = result
    assert code == 2
    assert "Traceback" not in out + err
    assert "error" in err.lower()
    for word in words:
        assert word in err, f"{word!r} is not in {err!r}"
    assert list(folder.iterdir()) == [], "no file is left"


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], LAYERS),
        (["stem"], ["stem"]),
        (["stage.*"], ["stage1_block1", "stage2_block1"]),
        (["output", "stem"], ["stem", "output"]),
        (["pooled", "stage1.*", "pooled"], ["stage1_block1", "pooled"]),
        ([".*"], LAYERS),
    ],
)
def test_chosen_layers_are_drawn_in_the_order_of_the_network(plot, tmp_path, patterns, expected):
    options = [part for pattern in patterns for part in ("--layer", pattern)]
    code, out, err = plot(*options, "--epoch", 2, "--out", "regions.svg")
    assert (code, out.split()) == (0, ["regions.svg"]), err
    layers, _ = drawn(tmp_path / "regions.svg")
    assert layers == expected


@pytest.mark.parametrize(("epochs", "expected"), [([], [0, 1, 2, 3]), ([2], [2]), ([3, 0], [3, 0])])
def test_chosen_epochs_are_drawn(plot, tmp_path, epochs, expected):
    options = [part for epoch in epochs for part in ("--epoch", epoch)]
    assert plot("--layer", "stem", *options, "--out", "regions.svg")[0] == 0
    assert drawn(tmp_path / "regions.svg")[1] == expected


def test_one_plane_gives_one_file_of_the_name_asked_for(plot, tmp_path):
    code, out, err = plot("--layer", "stem", "--plane", 2, "--out", "regions.svg")
    assert (code, out.split()) == (0, ["regions.svg"]), err
    assert [path.name for path in tmp_path.iterdir()] == ["regions.svg"]
    assert any(
        text.startswith("plane 2") or "· plane 2" in text
        for text in texts(tmp_path / "regions.svg")
    )


def test_several_planes_give_a_file_each(plot, tmp_path):
    code, out, err = plot("--layer", "stem", "--plane", 0, "--plane", 2, "--out", "r.png")
    assert (code, out.split()) == (0, ["r-plane0.png", "r-plane2.png"]), err
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["r-plane0.png", "r-plane2.png"]
    assert files[0].read_bytes() != files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "start"), [("r.png", b"\x89PNG"), ("r.pdf", b"%PDF"), ("r.SVG", b"<?xml")]
)
def test_the_ending_chooses_the_format(plot, tmp_path, name, start):
    assert plot("--layer", "stem", "--epoch", 0, "--out", name)[0] == 0
    assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "stam"], ["'stam'", *LAYERS]),
        (["--layer", "stem", "--layer", "stage9.*"], ["'stage9.*'", *LAYERS]),
        (["--layer", "sta(ge"], ["'sta(ge'", "regular expression", *LAYERS]),
        (["--epoch", "7"], ["epoch 7", "0, 1, 2, 3"]),
        (["--epoch", "1", "--epoch", "-1"], ["epoch -1", "0, 1, 2, 3"]),
        (["--epoch", "last"], ["--epoch", "integer"]),
        (["--plane", "99"], ["plane 99", "0, 1, 2"]),
        (["--plane", "0", "--plane", "99"], ["plane 99", "0, 1, 2"]),
        (["--out", "regions.gif"], [".gif", ".png", ".pdf", ".svg", "--animate"]),
        (["--animate", "--out", "regions.png"], [".png", ".gif", "--animate"]),
        (["--animate", "--out", "regions"], [".gif"]),
        (["--animate", "--out", "nowhere/regions.gif"], ["nowhere"]),
        (["--animate", "--epoch", "1"], ["--epoch", "--animate", "every recorded epoch"]),
        (["--animate", "--layer", "stam"], ["'stam'", *LAYERS]),
        (["--animate", "--plane", "0", "--plane", "99"], ["plane 99", "0, 1, 2"]),
        (["--out", "regions"], [".png", ".pdf", ".svg"]),
        (["--out", "nowhere/regions.png"], ["nowhere"]),
        (["--layr", "stem"], ["--layr"]),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(plot, tmp_path, options, words):
    assert_refused(plot(*options), words, tmp_path)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["regions.gif"]),
        (["--out", "r.GIF"], ["r.GIF"]),
        (["--plane", 0, "--plane", 2], ["regions-plane0.gif", "regions-plane2.gif"]),
    ],
)
def test_an_animation_has_a_frame_for_each_recorded_epoch(plot, tmp_path, options, names):
    code, out, err = plot("--layer", "stem", "--animate", *options)
    assert (code, out.split()) == (0, names), err
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name in names:
        with Image.open(tmp_path / name) as animation:
            assert (animation.format, animation.n_frames) == ("GIF", 4)


def test_what_is_no_run_is_refused(plot, tmp_path):
    assert_refused(plot(run="none"), ["none", "run folder"], tmp_path)


def test_a_folder_in_the_place_of_the_picture_is_refused(plot, tmp_path):
    (tmp_path / "r.png").mkdir()
    code, out, err = plot("--layer", "stem", "--epoch", 0, "--out", "r.png")
    assert code == 2
    assert "r.png" in err
    assert "Traceback" not in out + err


def test_a_run_without_planes_is_refused(plot, tiny_run, tmp_path_factory, tmp_path):
    from repdyn_keras.records import RunFolder, read_netcdf, write_netcdf

    without = RunFolder(tmp_path_factory.mktemp("without"))
    constants = tiny_run.folder.constants()
    without.write_constants(constants.drop_vars([n for n in constants if n.startswith("plane_")]))
    without.write_record(0, tiny_run.folder.record(0))
    dynamics = read_netcdf(tiny_run.folder.dynamics_file)
    dropped = [name for name in dynamics if "region" in name or name.startswith("plane_")]
    write_netcdf(dynamics.drop_vars([*dropped, "fragments"]), without.dynamics_file)
    for options in ([], ["--animate"]):
        assert_refused(plot(*options, run=without.path), ["regions", "planes"], tmp_path)


def test_the_program_runs_by_itself_and_needs_no_backend(tiny_run, tmp_path):
    hidden = "; ".join(f"sys.modules[{name!r}] = None" for name in ("keras", "jax", "torch"))
    code = f"import runpy, sys; {hidden}; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    arguments = [str(tiny_run.folder.path), "--layer", "output", "--epoch", "3", "--out", "r.png"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["r.png"]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
