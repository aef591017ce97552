"""Folders of strangers: nothing in them is run, followed, interpreted or written elsewhere."""

import ast
import json
import os
import shutil
import sys
import unicodedata
import warnings
import zipfile
from pathlib import Path

import h5py
import keras
import matplotlib
import ml_dtypes
import numpy as np
import pytest
from helpers import repdyn, write_run
from matplotlib.text import Text

import repdyn_keras
from repdyn_keras import figures
from repdyn_keras.cli.collect import collect
from repdyn_keras.config import Config, with_trust
from repdyn_keras.datasets.prepared import parse_name
from repdyn_keras.dynamics import analyze, compare, open_run
from repdyn_keras.errors import InputError, visible
from repdyn_keras.experiment import record, run
from repdyn_keras.experiment.folders import run_name
from repdyn_keras.figures import style
from repdyn_keras.models.own import loaded
from repdyn_keras.recording.checkpoints import WEIGHTS_IN_ARCHIVE, WeightLoader, stored_shapes
from repdyn_keras.records import RunFolder
from repdyn_keras.records.untrusted import ALWAYS_ALLOWED, refuse_outside

PACKAGE = Path(repdyn_keras.__file__).parent
APPS = PACKAGE.parent / "apps"
LINK = "\x1b]8;;http://example.com\x1b\\here\x1b]8;;\x1b\\"
# "output" must be the last, as in every record.
NAMES = (
    "../../evil",
    "/etc/x",
    "[red]x[/red]",
    "[link=http://example.com]y[/link]",
    LINK,
    "two\nlines\r\t",
    "$\\frac$",
    "$x",
    "a_b^c$d_{e$",
    "\\input{/etc/hostname}",
    "turned \u202e back\u2066",
    ":skull: _hidden",
    "n" * 3000,
    "output",
)
CLASS_NAMES = ["$\\frac$", "[red]r[/red]", LINK, "../../c\n" * 50]


def tree(folder):
    """Every name below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def is_harmless(text):
    """Whether a terminal takes text for letters alone; its lines may end."""
    kinds = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
    return not any(unicodedata.category(char) in kinds for char in text if char != "\n")


@pytest.fixture(autouse=True)
def wide_and_coarse(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(style, "DPI", 30)


# --- what an HDF5 file may hold ---------------------------------------------------------------


def external_link(file):
    file["x"] = h5py.ExternalLink("other.h5", "/y")


def link_in_a_group(file):
    file.create_group("a/b")["x"] = h5py.ExternalLink("/etc/passwd", "/y")


def soft_link(file):
    file["real"] = np.ones(3)
    file["x"] = h5py.SoftLink("/real")


def endless_soft_link(file):
    file["x"] = h5py.SoftLink("/x")


def external_storage(file):
    file.create_dataset("x", (3,), "u1", external=[("/etc/passwd", 0, 3)])


def virtual(file):
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "y", (3,))
    file.create_virtual_dataset("x", layout)


def objects(file):
    file.create_dataset("x", (2,), h5py.vlen_dtype(np.int32))


def references(file):
    file.create_dataset("x", (2,), h5py.ref_dtype)


def opaque(file):
    file.create_dataset("x", data=np.zeros(2, "V64"))


def records_of_fields(file):
    file.create_dataset("x", (2,), np.dtype([("a", "f4"), ("b", "i4")]))


def sparse(file):
    file.create_dataset("x", (2**40,), "f4", chunks=(1024,))


def overflowing(file):
    file.create_dataset("x", (2**40, 2**40), "f8", chunks=(16, 16))


def many_that_are_each_allowed(file):
    for index in range(20):
        file.create_dataset(f"x{index:02d}", (ALWAYS_ALLOWED,), "u1", chunks=(1024,))


def table_of_strings(file):
    file.create_dataset("x", (2, 2), h5py.string_dtype())


def group_in_itself(file):
    below = file.create_group("a/b")
    below["x"] = file["a"]


def root_in_itself(file):
    file["x"] = file["/"]


HOSTILE = {
    external_link: "'/x' is a link to another file",
    link_in_a_group: "'/a/b/x' is a link to another file",
    soft_link: "'/x' is a link to another name",
    endless_soft_link: "'/x' is a link to another name",
    external_storage: "the numbers of '/x' lie in '/etc/passwd'",
    virtual: "the numbers of '/x' lie in other files",
    objects: "'/x' holds object, no numbers",
    references: "'/x' holds object, no numbers",
    opaque: r"'/x' holds \|V64, no numbers",
    records_of_fields: "'/x' holds .*no numbers",
    sparse: "take 4,398,046,511,104 bytes of memory or more",
    overflowing: "bytes of memory or more",
    many_that_are_each_allowed: "bytes of memory or more",
    table_of_strings: "'/x' holds a table of strings",
    group_in_itself: "the group '/a/b/x' has another name too",
    root_in_itself: "the group '/x' has another name too",
}


def named(value):
    """A parameter's name in the names of tests."""
    return getattr(value, "__name__", "")


def written(path, fill):
    with h5py.File(path, "w") as file:
        fill(file)
    return path


def looked_at(path):
    with h5py.File(path, "r") as file:
        refuse_outside(file, path)


@pytest.mark.parametrize(("fill", "message"), HOSTILE.items(), ids=named)
def test_files_that_hold_more_than_their_own_arrays_are_refused(tmp_path, fill, message):
    path = written(tmp_path / "x.h5", fill)
    with pytest.raises(InputError, match=f"x.h5 is not read: .*{message}.*Expected arrays"):
        looked_at(path)


def test_what_links_lead_to_is_not_opened(tmp_path):
    # Opening a pipe that nobody writes to would wait forever.
    os.mkfifo(tmp_path / "other.h5")
    for fill in (external_link, virtual):
        with pytest.raises(InputError, match="is not read"):
            looked_at(written(tmp_path / "x.h5", fill))


def test_one_long_string_named_many_times_is_a_bomb(tmp_path):
    path, count, length = tmp_path / "x.h5", 20_000, 30_000
    with h5py.File(path, "w") as file:
        strings = file.create_dataset("x", (count,), h5py.string_dtype())
        strings[0] = "s" * length
        start = strings.id.get_offset()
    looked_at(path)
    # Every element is made to name the first one's string.
    data = bytearray(path.read_bytes())
    data[start : start + 16 * count] = data[start : start + 16] * count
    path.write_bytes(data)
    with h5py.File(path, "r") as file:
        assert file["x"][count - 1] == b"s" * length
    with pytest.raises(InputError, match="'/x' its variables take .* bytes of memory or more"):
        looked_at(path)


def test_arrays_that_deflate_well_are_read(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("zeros", data=np.zeros(2**24, "u1"), compression="gzip")
        for name, kind in (("half", np.float16), ("brain", ml_dtypes.bfloat16), ("yes", bool)):
            file.create_dataset(name, data=np.ones(4, kind))
        file.create_dataset("none", data=h5py.Empty("f4"))
        file.create_dataset("word", data="a word")
        file.create_dataset("words", data=["a", "b" * 1000])
    looked_at(path)


def test_files_of_repdyn_and_keras_are_read(hostile_run, tmp_path):
    for path in hostile_run.path.rglob("*.nc"):
        looked_at(path)
    model = small_model()
    model.save_weights(tmp_path / "own.weights.h5")
    looked_at(tmp_path / "own.weights.h5")


# --- saved weights ----------------------------------------------------------------------------


def small_model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")])


def saved(model, path, fill):
    """A file of the model's weights with something else in it."""
    model.save_weights(path.with_name("own.weights.h5"))
    data = path.with_name("own.weights.h5")
    with h5py.File(data, "r+") as file:
        fill(file)
    if path.suffix == ".keras":
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            held = {name: archive.read(name) for name in archive.namelist()}
        held[WEIGHTS_IN_ARCHIVE] = data.read_bytes()
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in held.items():
                archive.writestr(name, content)
    else:
        data.rename(path)
    return path


@pytest.mark.parametrize("name", ["epoch-1.weights.h5", "epoch-1.keras"])
@pytest.mark.parametrize("fill", [external_link, soft_link, virtual, external_storage, sparse])
def test_checkpoints_that_reach_out_are_refused(tmp_path, name, fill):
    model = small_model()
    loader = WeightLoader(model)
    before = model.get_weights()
    path = saved(model, tmp_path / name, fill)
    for use in (stored_shapes, loader.check, loader.load):
        with pytest.raises(InputError, match=f"{name} is not read: .*/x.*Expected arrays"):
            use(path)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_kernel_that_is_a_link_never_becomes_a_weight(tmp_path):
    model = small_model()
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = np.full((4, 3), 7.0)

    def swap(file):
        place = next(iter(stored_shapes(tmp_path / "plain.weights.h5")))
        del file[f"{place}/0"]
        file[f"{place}/0"] = h5py.ExternalLink(str(secret), "/kernel")

    model.save_weights(tmp_path / "plain.weights.h5")
    path = saved(model, tmp_path / "epoch-1.weights.h5", swap)
    with pytest.raises(InputError, match="is a link to another file"):
        WeightLoader(model).load(path)
    assert not (model.get_weights()[0] == 7).any()


def test_a_saved_models_python_is_not_run(tmp_path):
    mark = tmp_path / "was run"

    # Keras stores a lambda as its byte code, with constants and without defaults.
    touch = keras.layers.Lambda(eval(f"lambda x: (open({str(mark)!r}, 'w'), x)[1]"))
    model = keras.Sequential([keras.Input((4,)), touch])
    model.save(tmp_path / "m.keras")
    mark.unlink(missing_ok=True)
    with pytest.raises(InputError, match="Cannot load .*m.keras .*Expected a whole model"):
        loaded(tmp_path / "m.keras")
    assert not mark.exists()
    keras.saving.load_model(tmp_path / "m.keras", safe_mode=False)(np.ones((1, 4)))
    assert mark.exists(), "the test's model runs nothing even where it may"


def test_a_saved_models_classes_are_kerass_own(tmp_path, monkeypatch):
    module = tmp_path / "evil_layers.py"
    module.write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\nclass Layer:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "m.keras"
    small_model().save(path)
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(held["config.json"])
    config["config"]["layers"][1] |= {"module": "evil_layers", "class_name": "Layer"}
    held["config.json"] = json.dumps(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="Cannot load"):
        loaded(path)
    assert not (tmp_path / "was run").exists()
    assert "evil_layers" not in sys.modules


# --- a run folder whose files reach out -------------------------------------------------------


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory):
    folder = tiny(tmp_path_factory.mktemp("analyzed") / "run", (0, 1, 2))
    analyze(folder)
    return folder


def tampered(analyzed, path, file, fill):
    """A copy of a run folder with something else in one of its files, its checksums made to fit."""
    shutil.copytree(analyzed.path, path)
    with h5py.File(path / file, "r+") as opened:
        fill(opened)
    (path / "checksums.txt").unlink(missing_ok=True)
    folder = RunFolder(path)
    folder.dynamics_file.touch()
    return folder


@pytest.mark.parametrize("file", ["records/constants.nc", "records/epoch-000001.nc", "dynamics.nc"])
@pytest.mark.parametrize("fill", [external_link, soft_link, virtual, external_storage, sparse])
def test_a_run_whose_files_reach_out_is_refused(analyzed, tmp_path, file, fill):
    folder = tampered(analyzed, tmp_path / "run", file, fill)
    if file == "dynamics.nc":
        with pytest.raises(InputError, match="dynamics.nc is not read: .*/x"):
            _ = open_run(folder.path).dynamics
        commands = [("report", folder.path), ("compare", folder.path, folder.path)]
    else:
        with pytest.raises(InputError, match=f"{file} is not read: .*/x"):
            analyze(folder)
        folder.dynamics_file.unlink()
        commands = [(name, folder.path) for name in ("analyze", "report")]
    for command in commands:
        done = repdyn(*command)
        assert done.exit_code == 2, done.output
        assert "is not read" in done.stderr
        assert "Traceback" not in done.stderr


def test_fingerprints_of_another_file_are_not_read(analyzed, tmp_path):
    secret = tmp_path / "secret.h5"

    def swap(file):
        with h5py.File(secret, "w") as other:
            file.copy("fingerprint", other)
        del file["fingerprint"]
        file["fingerprint"] = h5py.ExternalLink(str(secret), "/fingerprint")

    folder = tampered(analyzed, tmp_path / "run", "records/epoch-000001.nc", swap)
    with pytest.raises(InputError, match="is a link to another file"):
        folder.fingerprints([1], slice(None))
    with pytest.raises(InputError, match="is a link to another file"):
        folder.record(1)
    with pytest.raises(InputError, match="is a link to another file"):
        folder.recorded_hash(1)


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("stage1_block2", "stage1_block2"),
        ("Straße 猫 🙂 [red] $x$", "Straße 猫 🙂 [red] $x$"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\x9b\u202e\u200b\u2028", "\\x9b\\u202e\\u200b\\u2028"),
        ("\ud800", "\\ud800"),
        (Path("a/b"), "a/b"),
        ("", ""),
    ],
)
def test_visible_text_is_what_was_meant_or_its_escapes(text, shown):
    assert visible(text) == shown
    assert is_harmless(shown)


def test_long_text_keeps_its_ends():
    assert visible("a" * 40, 40) == "a" * 40
    assert visible("abcdefghij", 5) == "ab…ij"
    assert visible("a" * 10**7 + "z", 20) == "a" * 9 + "…" + "a" * 9 + "z"
    assert all(len(visible("\x1b" * count, 12)) <= 12 for count in (1, 3, 4, 20, 30))


def tiny(path, epochs=(0, 1)):
    """A folder of two layers, without `run.toml`."""
    return write_run(path, ("stem", "output"), epochs, planes=False)


def hostile(path, names=NAMES):
    """A folder whose layers and classes have bad names, without `run.toml`."""
    folder = write_run(path, names, epochs=(0, 1, 2))
    constants = folder.constants()
    constants["class_name"] = (("class",), np.array(CLASS_NAMES))
    folder.write_constants(constants)
    return folder


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    folder = hostile(tmp_path_factory.mktemp("hostile") / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        analyze(folder)
    return folder


@pytest.fixture(scope="module")
def dynamics(hostile_run):
    return open_run(hostile_run.path).dynamics.assign_attrs(title="$\\frac$ [red]\x1b\n" * 40)


def test_names_are_kept_as_they_are_in_the_results(dynamics):
    assert dynamics["layer"].values.tolist() == list(NAMES)
    assert dynamics.attrs["class_names"] == CLASS_NAMES


def assert_shown(text):
    assert is_harmless(text)
    for name in NAMES[:4] + NAMES[6:10] + NAMES[11:12]:
        assert name in text
    for name in (LINK, "two\nlines\r\t", NAMES[10]):
        assert name not in text
        assert visible(name) in text
    assert "n" * 61 not in text


def test_commands_show_names_literally(hostile_run, tmp_path):
    done = repdyn("analyze", hostile_run.path)
    assert done.exit_code == 0, done.output
    assert_shown(done.stdout)
    done = repdyn("compare", hostile_run.path, hostile_run.path, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert_shown(done.stdout)


@pytest.mark.parametrize("command", ["analyze", "report", "compare"])
def test_names_decide_no_file_names(tmp_path, command):
    inside = tmp_path / "a" / "b"
    folder = hostile(inside / "run", NAMES[:2] + NAMES[-1:])
    before = tree(tmp_path)
    done = repdyn(command, folder.path, *([folder.path] if command == "compare" else []))
    assert done.exit_code == 0, done.output
    new = tree(tmp_path) - before
    allowed = {"analyze": "run", "report": "run", "compare": "compare-run-run"}[command]
    assert new
    assert all(name.startswith(f"a/b/{allowed}") for name in new)
    drawn = {Path(name).name for name in new if name.endswith(".png")}
    expected = {
        "analyze": set(),
        "report": {"learning_curves", "probe_curves", "cka", "region_agreement"}
        | {f"regions_plane{i}" for i in range(3)},
        "compare": {"layers", "epochs"},
    }
    assert drawn == {f"{name}.png" for name in expected[command]}


def test_a_folders_own_name_is_plain_in_new_names_and_on_the_terminal(tmp_path):
    evil = "[red]r\x1b[31m\n" + "n" * 200
    folder = tiny(tmp_path / evil)
    done = repdyn("compare", folder.path, folder.path)
    assert done.exit_code == 0, done.output
    assert is_harmless(done.stdout)
    (made,) = tree(tmp_path) - {f for f in tree(tmp_path) if f.startswith("[red]") or "/" in f}
    assert made.startswith("compare-red-r-31m-nnn")
    assert is_harmless(made)
    assert len(made) < 255
    for command in ("analyze", "report", "doctor"):
        done = repdyn(command, folder.path)
        assert is_harmless(done.output)
    done = repdyn("analyze", tmp_path / "\x1b[31mnone")
    assert done.exit_code == 2
    assert is_harmless(done.stderr)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("npz:/data/my set\x1b[31m.npz", "my-set-31m"),
        ("npz:/data/...npz", "npz"),
        ("npz:" + "n" * 300 + ".npz", "n" * 80),
        ("folder:/data/[red]\n", "red"),
        ("folder:/", "folder"),
        ("tfds:a/b:1.*.*", "a-b-1"),
    ],
)
def test_a_run_is_named_after_its_data_in_plain_letters(dataset, name):
    assert run_name(Config(dataset=dataset)).startswith(f"{name}-resnet-sgd")
    assert run_name(Config(model=f"{name}\x1b.keras")).startswith(f"digits-{name}-sgd")


def drawn(dynamics):
    """Figures of every kind, each for the names it draws."""
    found = [figures.probe_curves(dynamics), figures.film_strip(dynamics, 0)]
    found.append(figures.similarity_heatmaps(dynamics, "cka"))
    found.append(figures.learning_curves(dynamics).figure)
    found.append(figures.decision_regions(dynamics, NAMES[6], 1).figure)
    found.append(figures.similarity_heatmap(dynamics, "cka", NAMES[4]).figure)
    return found


def compared(hostile_run):
    one = open_run(hostile_run.path)
    comparison = compare(one, one).assign_attrs(title_a="$\\frac$", title_b=LINK * 50)
    return [figures.layer_comparison(comparison), figures.epoch_comparison(comparison)]


def test_figures_take_names_for_letters(dynamics, hostile_run):
    seen = ""
    for figure in [*drawn(dynamics), *compared(hostile_run)]:
        figure.savefig(os.devnull, format="png", dpi=20)
        assert max(figure.get_size_inches()) < 60
        for text in figure.findobj(Text):
            words = text.get_text()
            assert is_harmless(words)
            assert len(words) < 1500
            if "$" in words or "\\" in words:
                assert not text.get_parse_math(), words
            seen += f"{words}\n"
    for name in NAMES[:3] + NAMES[6:9]:
        assert name in seen
    assert "n" * 33 not in seen


def test_names_that_differ_only_within_stay_apart_in_figures():
    layers = ["a" * 100 + f"{index}" + "b" * 100 for index in range(3)]
    assert len({figures.names.layer_name(layers, name) for name in layers}) == 3


def test_no_name_goes_through_latex(dynamics, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with matplotlib.rc_context({"text.usetex": True}):
        few = dynamics.isel(layer=[0, 9, 13], layer_other=[0, 9, 13], plane=[0])
        assert len(figures.draw_all(few, tmp_path / "figures")) == 6
        assert figures.animate_regions(few, path=tmp_path / "r.gif").is_file()
        assert matplotlib.rcParams["text.usetex"]


def test_an_animation_of_bad_names_is_written_where_it_was_asked_for(dynamics, tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    figures.animate_regions(dynamics, NAMES[:6], path=inside / "r.gif")
    assert tree(tmp_path) == {"a", "a/b", "a/b/r.gif"}


def test_the_application_writes_only_its_output(hostile_run, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(APPS)
    import plot_regions

    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    out = inside / "r.svg"
    plot_regions.draw(hostile_run.path, layer=[".*evil", "/etc/x"], out=out, plane=[0, 1])
    assert tree(inside) == {"r-plane0.svg", "r-plane1.svg"}
    assert tree(tmp_path) == {"a", "a/b", "a/b/r-plane0.svg", "a/b/r-plane1.svg"}
    monkeypatch.setattr(sys, "argv", ["x", str(hostile_run.path), "--layer", "zzz"])
    with pytest.raises(SystemExit):
        plot_regions.main()
    said = capsys.readouterr().err
    assert "Unknown layer 'zzz'" in said
    assert is_harmless(said)


# --- configurations ---------------------------------------------------------------------------

CLIMBING = [
    ("dataset", "npz:../data.npz"),
    ("dataset", "npz:a/../../data.npz"),
    ("dataset", "npz:..\\data.npz"),
    ("dataset", "npz:~/../data.npz"),
    ("dataset", "folder:.."),
    ("dataset", "folder:images/.."),
    ("dataset", "tfds:../x"),
    ("dataset", "tfds:mnist/.."),
    ("data_dir", "../sets"),
    ("data_dir", "/srv/../sets"),
    ("model", "../m.keras"),
    ("model", "a\\..\\m.keras"),
]
STAYING = [
    ("dataset", "npz:/data/x..npz"),
    ("dataset", "npz:..."),
    ("dataset", "folder:images/..hidden"),
    ("dataset", "tfds:mnist:3.*.*"),
    ("dataset", "digits"),
    ("data_dir", "/srv/sets"),
    ("model", "resnet"),
    ("model", "..m.keras"),
]


@pytest.mark.parametrize(("key", "value"), CLIMBING)
def test_paths_of_a_file_that_climb_must_be_given_again(key, value):
    with pytest.raises(InputError, match=f"leads upwards, {key} = .*Expected one without.*--set"):
        with_trust({key: value, "seed": 1}, {"seed": 2})
    with pytest.raises(InputError, match="leads upwards"):
        collect({key: value}, {"seed": "1"}, [])
    assert with_trust({key: value}, {key: value}) == {key: value}
    assert collect({key: value}, {}, [f"{key}={value}"])[key] == value


@pytest.mark.parametrize(("key", "value"), STAYING)
def test_paths_that_stay_are_used(key, value):
    assert with_trust({key: value}, {}) == {key: value}


@pytest.mark.parametrize("values", [("dataset", "npz:../d.npz"), ("model", "evil:build")])
def test_a_strangers_run_is_not_repeated_by_its_file_alone(tmp_path, monkeypatch, values):
    (tmp_path / "evil.py").write_text("open('was run', 'w')\n")
    monkeypatch.chdir(tmp_path)
    folder = tiny(tmp_path / "run")
    key, value = values
    folder.config_file.write_text(f"{key} = {value!r}\n")
    (tmp_path / "checkpoints").mkdir()
    before = tree(tmp_path)
    for attempt in (
        lambda: run(folder.config_file),
        lambda: run(folder.path, resume=True),
        lambda: record(tmp_path / "checkpoints", like=folder.path),
    ):
        with pytest.raises(InputError, match=f"The configuration names .*{key} = "):
            attempt()
    for command in (
        ("run", folder.config_file),
        ("run", folder.path, "--resume"),
        ("record", tmp_path / "checkpoints", "--like", folder.path),
    ):
        done = repdyn(*command)
        assert done.exit_code == 2
        assert f"{key} = " in done.stderr
        assert "if you trust it" in done.stderr
    assert tree(tmp_path) == before


def test_looking_at_a_run_runs_nothing_that_its_configuration_names(tmp_path, monkeypatch):
    folder = tiny(tmp_path / "run")
    for place in (tmp_path, folder.path):
        for module in ("evil", "sitecustomize", "conftest"):
            (place / f"{module}.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')\n")
    folder.config_file.write_text('model = "evil:build"\ndataset = "npz:../secret.npz"\n')
    monkeypatch.chdir(folder.path)
    for command in (("analyze", "."), ("report", "."), ("compare", ".", "."), ("doctor", ".")):
        assert repdyn(*command).exit_code in (0, 1)
    assert not (tmp_path / "was run").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ('dataset = "npz:[red]x\\u001b[31m"', "npz:[red]x\\x1b[31m"),
        ("seed = 3", "seed 3"),
        ("epochs = 3", "run"),
    ],
)
def test_a_configuration_may_say_little_and_that_badly(tmp_path, text, title):
    folder = tiny(tmp_path / "run")
    folder.config_file.write_text(text + "\n")
    done = repdyn("analyze", folder.path)
    assert done.exit_code == 0, done.output
    assert title in done.stdout
    assert is_harmless(done.stdout)


def test_a_configuration_that_exhausts_its_reader_is_one_message(tmp_path):
    path = tmp_path / "deep.toml"
    path.write_text("blocks = " + "[" * 100_000)
    done = repdyn("run", path)
    assert done.exit_code == 2
    assert "is not valid TOML" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../x",
        "/etc/x",
        "a/..",
        "a/..:1.0.0",
        "a/../b",
        "a/.",
        "a/b/c",
        "~/x",
        "a\\b",
        "a/b\n",
        "1a",
    ],
)
def test_names_of_tfds_are_names(name):
    with pytest.raises(InputError, match="no name of a TFDS data set. Expected tfds:NAME"):
        parse_name(name)


def test_tfds_own_names_are_taken():
    assert parse_name("imagenet2012_subset/10pct:5.*.*") == (
        "imagenet2012_subset",
        "10pct",
        "5.*.*",
    )
    assert parse_name("c4/en.noblock-list+x") == ("c4", "en.noblock-list+x", None)


# --- the package's own code -------------------------------------------------------------------

BAD_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
BAD_CALLS = {"eval", "exec", "__import__"}
BAD_NAMES = {"enable_unsafe_deserialization", "read_pickle", "to_pickle", "unsafe_load"}


def dangers(code):
    """What in Python code may run what it reads, by line."""
    found = []
    for node in ast.walk(ast.parse(code)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [(node.lineno, name) for name in names if name.split(".")[0] in BAD_MODULES]
        if isinstance(node, ast.Attribute) and node.attr in BAD_NAMES:
            found.append((node.lineno, node.attr))
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if called in BAD_CALLS:
            found.append((node.lineno, called))
        if called in ("np.load", "numpy.load") and given.get("allow_pickle") != "False":
            found.append((node.lineno, called))
        if given.get("allow_pickle", "False") != "False":
            found.append((node.lineno, "allow_pickle"))
        if called.endswith("load_model") and given.get("safe_mode") != "True":
            found.append((node.lineno, called))
        if called == "torch.load":
            found.append((node.lineno, called))
    return found


@pytest.mark.parametrize("path", sorted([*PACKAGE.rglob("*.py"), *APPS.rglob("*.py")]), ids=str)
def test_no_module_runs_what_it_reads(path):
    assert dangers(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "def f():\n    from marshal import loads",
        "import os, joblib.numpy_pickle",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
        "np.lib.format.read_array(f, allow_pickle=True)",
        "keras.saving.load_model(path)",
        "load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
        "torch.load(path)",
    ],
)
def test_the_check_of_modules_sees_what_it_must(code):
    assert dangers(code)


def test_the_check_of_modules_takes_what_is_safe():
    assert not dangers(
        "np.load(p, allow_pickle=False)\nload_model(p, safe_mode=True)\nmodel.eval()"
    )


# What lies in the folder in the place of a file that is written into.


@pytest.mark.parametrize("name", [".lock", ".owner", "checksums.txt"])
def test_nothing_is_written_through_a_link(tmp_path, name):
    folder = write_run(tmp_path / "run", epochs=(0, 1, 2))
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (folder.path / name).unlink(missing_ok=True)
    (folder.path / name).symlink_to(victim)
    result = repdyn("analyze", folder.path)
    assert result.exit_code == 2, result.stdout
    assert f"{name} is a link" in result.stderr
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("is_there", [False, True])
def test_no_table_is_appended_to_through_a_link(tmp_path, is_there):
    victim = tmp_path / "victim"
    if is_there:
        victim.write_text("mine")
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.history_file.symlink_to(victim)
    with pytest.raises(InputError, match="history.csv is a link"):
        folder.table(folder.history_file, ("epoch",)).append({"epoch": 1})
    assert victim.exists() == is_there
    assert not is_there or victim.read_text() == "mine"
