"""Untrusted run folders: nothing is executed, followed, interpreted or written elsewhere."""

import json
import os
import sys
import unicodedata
import zipfile
from pathlib import Path

import h5py
import keras
import matplotlib
import ml_dtypes
import numpy as np
import pytest
from helpers import assert_input_error, assert_rejected, repdyn, small_model, write_run
from matplotlib.text import Text

import repdyn_keras
from repdyn_keras import figures
from repdyn_keras.cli.options import collect
from repdyn_keras.config import Config, with_trust
from repdyn_keras.datasets.tfds import parse_name
from repdyn_keras.dynamics import analyze, compare, open_run
from repdyn_keras.experiment import record, run
from repdyn_keras.figures.parts import style
from repdyn_keras.figures.parts.lookup import layer_name
from repdyn_keras.models.user_models import load_model
from repdyn_keras.recording.checkpoints.saved_weights import (
    WEIGHTS_IN_ARCHIVE,
    WeightLoader,
    stored_shapes,
)
from repdyn_keras.records.netcdf import (
    ALWAYS_ALLOWED,
    read_arrays,
    read_attribute,
    read_netcdf,
    require_self_contained,
)
from repdyn_keras.records.run_folder import run_name
from repdyn_keras.text import visible

pytestmark = pytest.mark.one_backend

LONG = pytest.mark.long
LINK = "\x1b]8;;http://example.com\x1b\\here\x1b]8;;\x1b\\"
# Names that a terminal, a file system, rich, matplotlib or LaTeX may interpret. PLAIN names are
# shown unchanged. "output" is the last name, as in every record.
PLAIN = ("../../evil", "/etc/x", "[red]x[/red]", "[link=http://example.com]y[/link]")
PLAIN += ("$\\frac$", "$x", "a_b^c$d_{e$", "\\input{/etc/hostname}", ":skull: _hidden")
ESCAPED = (LINK, "two\nlines\r\t", "turned \u202e back\u2066")
NAMES = (*PLAIN, *ESCAPED, "n" * 3000, "output")
CLASS_NAMES = ["$\\frac$", "[red]r[/red]", LINK, "../../c\n" * 50]


def tree(folder):
    """Every name below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def is_harmless(text):
    """Whether text has no characters that a terminal interprets, except line breaks."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return not any(unicodedata.category(char) in kinds for char in text if char != "\n")


@pytest.fixture(autouse=True)
def wide_and_coarse(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(style, "DPI", 30)


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "y", (3,))
    file.create_virtual_dataset("x", layout)


def each_allowed(file):
    for index in range(20):
        file.create_dataset(f"x{index:02d}", (ALWAYS_ALLOWED,), "u1", chunks=(1024,))


def one_string_named_often(file, count=20_000):
    strings = file.create_dataset("x", (count,), h5py.string_dtype())
    strings[0] = "s" * 30_000
    file.flush()
    start = strings.id.get_offset()
    data = bytearray(Path(file.filename).read_bytes())
    data[start : start + 16 * count] = data[start : start + 16] * count
    return data


def put(name, item):
    return lambda file: file.__setitem__(name, item or file["/"])


def variable(shape, kind, **more):
    return lambda file: file.create_dataset("x", shape, kind, **more)


HOSTILE = {
    "a link '/x' to another file": put("x", h5py.ExternalLink("other.h5", "/y")),
    "a link '/a/b/x' to another name": put("a/b/x", h5py.SoftLink("/x")),
    "a variable '/x' stored in '/etc/passwd'": variable(3, "u1", external=[("/etc/passwd", 0, 3)]),
    "a variable '/x' stored in other files": virtual,
    "a variable '/x' of type object": variable(2, h5py.vlen_dtype(np.int32)),
    r"a variable '/x' of type \|V64": variable(2, "V64"),
    r"a variable '/x' of type \[.*": variable(2, np.dtype([("a", "f4"), ("b", "i4")])),
    "a variable '/x' that is a table of strings": variable((2, 2), h5py.string_dtype()),
    "take 9,671,406,556,9.* bytes of": variable((2**40, 2**40), "f8", chunks=(16, 16)),
    "variables up to '/x..' that take": each_allowed,
    "'/x' that take": one_string_named_often,
    "a group '/a/b/x' that has two names": put("a/b/x", None),
    "a group '/x' that has two names": put("x", None),
}
READERS = (
    read_netcdf,
    lambda path: read_arrays(path, ["fingerprint"]),
    lambda path: read_attribute(path, "epoch"),
    stored_shapes,
)


def archived(path, member, change):
    """Changes one file in a `.keras` archive."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files[member] = change(files[member])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def test_every_reader_rejects_files_that_are_not_self_contained(tmp_path):
    os.mkfifo(tmp_path / "other.h5")  # opening it would block forever
    run = write_run(tmp_path / "run", ("stem", "output"), (0,), planes=False)
    model = small_model()
    before = model.get_weights()
    loader = WeightLoader(model)
    model.save(tmp_path / "m.keras")
    for number, (message, fill) in enumerate(HOSTILE.items()):
        path = tmp_path / f"{number}.nc"
        path.write_bytes(run.record_file(0).read_bytes())
        with h5py.File(path, "r+") as file:
            data = fill(file)
        if isinstance(data, bytearray):
            path.write_bytes(data)
        archived(tmp_path / "m.keras", WEIGHTS_IN_ARCHIVE, lambda _, path=path: path.read_bytes())
        whole = f"is not read. Expected arrays of numbers .*Received: .*{message.strip()}"
        for reader in READERS:
            assert_input_error(message, f"{number}.nc {whole}", reader, path)
        for reader in (stored_shapes, loader.check, loader.load):
            assert_input_error(message, f"m.keras {whole}", reader, tmp_path / "m.keras")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_files_of_repdyn_and_keras_and_well_compressed_arrays_are_read(hostile_run, tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("zeros", data=np.zeros(2**24, "u1"), compression="gzip")
        for name, kind in (("half", np.float16), ("brain", ml_dtypes.bfloat16), ("yes", bool)):
            file.create_dataset(name, data=np.ones(4, kind))
        file.create_dataset("none", data=h5py.Empty("f4"))
        file.create_dataset("word", data="a word")
        file.create_dataset("words", data=["a", "b" * 1000])
    small_model().save_weights(tmp_path / "own.weights.h5")
    for each in (path, tmp_path / "own.weights.h5", *hostile_run.path.rglob("*.nc")):
        with h5py.File(each, "r") as file:
            require_self_contained(file, each)


def test_python_code_in_a_saved_model_is_not_run(tmp_path, monkeypatch):
    mark, path = tmp_path / "was run", tmp_path / "m.keras"
    # Keras stores a lambda as byte code with constants, but without defaults.
    touch = keras.layers.Lambda(eval(f"lambda x: (open({str(mark)!r}, 'w'), x)[1]"))
    keras.Sequential([keras.Input((4,)), touch]).save(path)
    mark.unlink(missing_ok=True)
    assert_input_error("lambda", "Cannot load .*m.keras.*Expected a whole model", load_model, path)
    assert not mark.exists()
    keras.saving.load_model(path, safe_mode=False)(np.ones((1, 4)))
    assert mark.exists(), "without safe mode, the code of this model runs"
    mark.unlink()

    def evil(text):
        config = json.loads(text)
        config["config"]["layers"][1] |= {"module": "evil_layers", "class_name": "Layer"}
        return json.dumps(config)

    (tmp_path / "evil_layers.py").write_text(f"open({str(mark)!r}, 'w')\nclass Layer:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    small_model().save(path)
    archived(path, "config.json", evil)
    assert_input_error("class", "Cannot load", load_model, path)
    assert not mark.exists() and "evil_layers" not in sys.modules


def test_visible_text_escapes_control_characters_and_keeps_the_ends_of_long_text():
    for text, most, shown in (
        ("Straße 猫 🙂 [red] $x$", None, "Straße 猫 🙂 [red] $x$"),
        ("\x1b[31m\na\r\t", None, "\\x1b[31m\\na\\r\\t"),
        ("\x9b\u202e\u200b\u2028\ud800", None, "\\x9b\\u202e\\u200b\\u2028\\ud800"),
        (Path("a/b"), None, "a/b"),
        ("a" * 40, 40, "a" * 40),
        ("abcdefghij", 5, "ab…ij"),
        ("a" * 10**7 + "z", 20, "a" * 9 + "…" + "a" * 9 + "z"),
    ):
        assert visible(text, most) == shown and is_harmless(shown)
    assert all(len(visible("\x1b" * count, 12)) <= 12 for count in (1, 3, 4, 20, 30))


def hostile(path):
    """A folder whose layers and classes have hostile names, without `run.toml`."""
    folder = write_run(path, NAMES, epochs=(0, 1, 2))
    constants = folder.constants()
    constants["class_name"] = (("class",), np.array(CLASS_NAMES))
    folder.write_constants(constants)
    return folder


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    folder = hostile(tmp_path_factory.mktemp("hostile") / "run")
    analyze(folder)
    return folder


@pytest.fixture(scope="module")
def dynamics(hostile_run):
    return open_run(hostile_run.path).dynamics.assign_attrs(title="$\\frac$ [red]\x1b\n" * 40)


DRAWN = {
    "learning_curves",
    "probe_curves",
    "cka",
    "region_agreement",
    "progress",
    "synchronization",
}
DRAWN |= {f"regions_plane{plane}" for plane in range(3)}
COMPARED = {"layers", "epochs", "similarity_by_layer"}
COMPARED |= {"layers_region_agreement", "epochs_region_agreement"}


@pytest.mark.parametrize(
    ("command", "drawn"),
    [
        ("analyze", set()),
        ("report", set()),
        pytest.param("figures", DRAWN, marks=LONG),
        pytest.param("compare", COMPARED, marks=LONG),
    ],
)
def test_commands_print_names_literally_and_names_do_not_affect_paths(tmp_path, command, drawn):
    evil = "[red]r\x1b[31m\n" + "m" * 200
    folder = hostile(tmp_path / "a" / "b" / evil)
    before = tree(tmp_path)
    place, given = evil, [folder.path]
    if command == "compare":
        place, given = "compare-red-r-31m-mmm", [*given, *given]
    done = repdyn(command, *given)
    assert done.exit_code == 0, done.output
    assert is_harmless(done.output) and "n" * 61 not in done.stdout
    if command not in ("report", "figures"):
        assert all(name in done.stdout for name in (*PLAIN, *map(visible, ESCAPED)))
    new = {name.removeprefix("a/b/") for name in tree(tmp_path) - before}
    assert all(name.startswith(place) for name in new) and new
    assert place == evil or all(is_harmless(name) and len(name) < 255 for name in new)
    assert {Path(name).stem for name in new if name.endswith(".png")} == drawn
    result = repdyn(command, *[tmp_path / "\x1b[31mnone"] * (1 + (command == "compare")))
    assert_rejected(result, ["\\x1b[31mnone"])


def test_names_are_unchanged_in_the_results(dynamics):
    assert dynamics["layer"].values.tolist() == list(NAMES)
    assert dynamics.attrs["class_names"] == CLASS_NAMES


def test_the_name_of_a_run_folder_has_only_plain_characters():
    for dataset, name in {
        "npz:/data/my set\x1b[31m.npz": "my-set-31m",
        "npz:/data/...npz": "npz",
        "npz:" + "n" * 300 + ".npz": "n" * 80,
        "folder:/data/[red]\n": "red",
        "folder:/": "folder",
        "tfds:a/b:1.*.*": "a-b-1",
    }.items():
        assert run_name(Config(dataset=dataset)).startswith(f"{name}-resnet-sgd")
        assert run_name(Config(model=f"{name}\x1b.keras")).startswith(f"digits-{name}-sgd")


@LONG
def test_figures_show_names_literally(dynamics, hostile_run):
    one = open_run(hostile_run.path)
    comparison = compare(one, one).assign_attrs(title_a="$\\frac$", title_b=LINK * 50)
    seen = ""
    for figure in (
        figures.probe_curves(dynamics),
        figures.film_strip(dynamics, 0),
        figures.similarity_heatmaps(dynamics, "cka"),
        figures.learning_curves(dynamics),
        figures.plot_regions(dynamics, PLAIN[4], 1).figure,
        figures.plot_similarity(dynamics, LINK).figure,
        figures.layer_comparison(comparison),
        figures.epoch_comparison(comparison),
        figures.similarity_by_layer(comparison),
    ):
        figure.savefig(os.devnull, format="png", dpi=20)
        assert max(figure.get_size_inches()) < 60
        for text in figure.findobj(Text):
            words = text.get_text()
            assert is_harmless(words) and len(words) < 1500
            assert not ("$" in words or "\\" in words) or not text.get_parse_math(), words
            seen += f"{words}\n"
    assert all(name in seen for name in PLAIN[:3] + PLAIN[4:7]) and "n" * 33 not in seen
    layers = ["a" * 100 + f"{index}" + "b" * 100 for index in range(3)]
    assert len({layer_name(layers, name) for name in layers}) == 3


@LONG
def test_no_name_goes_through_latex(dynamics, tmp_path, monkeypatch):
    few = dynamics.isel(layer=[0, 9, 13], layer_other=[0, 9, 13], plane=[0])
    monkeypatch.setenv("PATH", str(tmp_path))  # there is none
    with matplotlib.rc_context({"text.usetex": True}):
        assert len(figures.draw_all(few, tmp_path / "figures")) == 8
        figures.animate_regions(dynamics, NAMES[:6], path=tmp_path / "r.gif")
        assert matplotlib.rcParams["text.usetex"]
    assert {each.name for each in tmp_path.iterdir()} == {"figures", "r.gif"}


@LONG
def test_plot_regions_writes_only_its_output(hostile_run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(repdyn_keras.__file__).parents[1] / "apps")
    import plot_regions

    out = tmp_path / "a" / "b" / "r.svg"
    out.parent.mkdir(parents=True)
    plot_regions.draw(hostile_run.path, layer=[".*evil", "/etc/x"], out=out, plane=[0, 1])
    assert tree(tmp_path) == {"a", "a/b", "a/b/r.svg"}


CLIMBING = ("dataset npz:../d.npz", "dataset npz:a/../../d.npz", "dataset npz:..\\d.npz")
CLIMBING += ("dataset npz:~/../d.npz", "dataset folder:..", "dataset folder:images/..")
CLIMBING += ("dataset idx:../mnist",)
CLIMBING += ("dataset tfds:../x", "dataset tfds:mnist/..", "data_dir ../sets")
CLIMBING += ("data_dir /srv/../sets", "model ../m.keras", "model a\\..\\m.keras")
STAYING = ("dataset npz:/data/x..npz", "dataset npz:...", "dataset folder:images/..hidden")
STAYING += ("dataset tfds:mnist:3.*.*", "dataset digits", "data_dir /srv/sets", "model resnet")
STAYING += ("model ..m.keras",)


def test_paths_with_parent_folders_must_be_repeated_by_the_user():
    for key, value in map(str.split, CLIMBING):
        words = f"parent folder.*Expected one without.*--set.*Received: {key} = "
        assert_input_error(value, words, with_trust, {key: value, "seed": 1}, {"seed": 2})
        assert_input_error(value, "parent folder", collect, {key: value}, {"seed": "1"}, [])
        assert with_trust({key: value}, {key: value}) == {key: value}
        assert collect({key: value}, {}, [f"{key}={value}"])[key] == value
    for key, value in map(str.split, STAYING):
        assert with_trust({key: value}, {}) == {key: value}


def test_reading_an_untrusted_run_executes_nothing(tmp_path, monkeypatch, undrawn):
    folder = write_run(tmp_path / "run", ("stem", "output"), (0, 1, 2), planes=False)
    (tmp_path / "checkpoints").mkdir()
    for place in (tmp_path, folder.path):
        for module in ("evil", "sitecustomize", "conftest"):
            (place / f"{module}.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\n")
    monkeypatch.chdir(folder.path)
    before = tree(tmp_path)
    checkpoints = tmp_path / "checkpoints"
    calls = {
        ("run", folder.config_file): lambda: run(folder.config_file),
        ("run", folder.path, "--resume"): lambda: run(folder.path, resume=True),
        ("record", checkpoints, "--like", folder.path): lambda: record(
            checkpoints, like=folder.path
        ),
    }
    for line in ("dataset = 'npz:../d.npz'", "model = 'evil:build'"):
        folder.config_file.write_text(f"{line}\n")
        for command, call in calls.items():
            assert_input_error(line, f"The configuration names .*{line}", call)
            assert_rejected(repdyn(*command), [line, "if you trust it"])
        folder.config_file.unlink()
        assert tree(tmp_path) == before
    folder.config_file.write_text('model = "evil:build"\ndataset = "npz:../[red]x\\u001b[31m"\n')
    for command in (("analyze", "."), ("report", "."), ("compare", ".", "."), ("doctor", ".")):
        done = repdyn(*command)
        assert done.exit_code in (0, 1) and is_harmless(done.output), command
        if command[0] == "analyze":
            assert "npz:../[red]x\\x1b[31m, evil:build" in done.stdout
    assert not (tmp_path / "was run").exists() and "evil" not in sys.modules
    folder.config_file.write_text("blocks = " + "[" * 100_000)
    assert_rejected(repdyn("run", folder.config_file), ["is not valid TOML"])


def test_names_of_tfds_data_sets_are_validated():
    words = "Not the name of a TFDS data set. Expected tfds:NAME"
    names = ("..", "../x", "/etc/x", "a/..", "a/..:1.0.0", "a/../b", "a/.", "a/b/c", "~/x")
    for name in (*names, "a\\b", "a/b\n", "1a"):
        assert_input_error(name, words, parse_name, name)
    found = parse_name("imagenet2012_subset/10pct:5.*.*")
    assert found == ("imagenet2012_subset", "10pct", "5.*.*")
    assert parse_name("c4/en.noblock-list+x") == ("c4", "en.noblock-list+x", None)


def test_a_notebook_shows_a_hostile_run_as_text(hostile_run):
    run = open_run(hostile_run.path)
    title = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    run.__dict__["dynamics"] = run.dynamics.assign_attrs(title=title)
    html = run._repr_html_()
    assert "<script" not in html and "&lt;script" in html
    assert html.count("<img") == 1, "the picture, and none of the title"
