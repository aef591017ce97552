"""The command line: what it prints and writes, and how it refuses what it cannot use."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tomli_w
import typer
from helpers import (
    BACKEND,
    COMMANDS,
    LAYERS,
    TINY,
    assert_refused,
    contents,
    process,
    repdyn,
    small_model,
)

from repdyn_keras import __version__, open_run
from repdyn_keras.cli import app
from repdyn_keras.config import Config, load_config, resolve
from repdyn_keras.records import RunFolder, read_netcdf

PICTURES = {
    "learning_curves.png",
    "probe_curves.png",
    "cka.png",
    "region_agreement.png",
    "regions_plane0.png",
    "regions_plane1.png",
    "regions_plane2.png",
    "regions_plane0.gif",
}


@pytest.fixture
def captured(monkeypatch) -> list[Config]:
    """The configurations that `repdyn run` would have trained; nothing is."""
    configs = []

    def instead(config, *, out=None, watcher=None, dry_run=False, resume=False):
        configs.append(config)
        return SimpleNamespace(folder=RunFolder("nowhere"))

    monkeypatch.setattr("repdyn_keras.experiment.run", instead)
    return configs


# What it says of itself.


def test_version_is_the_packages():
    result = repdyn("--version")
    assert result.exit_code == 0
    assert result.stdout == f"repdyn-keras {__version__}\n"
    assert metadata.version("repdyn-keras") == __version__


def test_help_lists_every_command():
    result = repdyn("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"^\W*{name} +\w", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = repdyn(name, "--help")
    assert result.exit_code == 0
    assert f"repdyn {name}" in result.stdout


def test_run_offers_the_contracts_options():
    stdout = repdyn("run", "--help").stdout
    for option in ("backend", "model", "optimizer", "dataset", "epochs", "label-noise", "seed"):
        assert f"--{option}" in stdout
    for option in ("out", "resume", "set", "dry-run", "quiet", "keys"):
        assert f"--{option}" in stdout


def test_without_a_command_help_is_shown_and_no_empty_error():
    result = repdyn()
    assert all(name in result.stdout + result.stderr for name in COMMANDS)
    assert not re.search(r"error:\s*(`|$)", result.stderr)


def test_keys_lists_every_key_of_a_configuration():
    result = repdyn("run", "--keys")
    assert result.exit_code == 0
    for key in dataclasses.fields(Config):
        assert re.search(rf"^\W {key.name} +\W", result.stdout, re.MULTILINE), key.name


# A run from start to end.


def test_a_run_writes_every_file_of_the_contract(tiny_run):
    assert tiny_run.exit_code == 0, tiny_run.stderr
    folder = tiny_run.folder.path
    files = {"run.toml", "history.csv", "timing.csv", "dynamics.nc", "checksums.txt", ".lock"}
    folders = {"records", "checkpoint", "weights", "figures"}
    assert {path.name for path in folder.iterdir()} == files | folders
    assert {path.name for path in (folder / "checkpoint").iterdir()} == {"state.nc"}
    records = {path.name for path in (folder / "records").iterdir()}
    assert records == {"constants.nc", *(f"epoch-00000{epoch}.nc" for epoch in range(4))}
    assert {path.name for path in (folder / "figures").iterdir()} == PICTURES
    for path in (folder / "figures").iterdir():
        begins = {".png": b"\x89PNG", ".gif": b"GIF8"}[path.suffix]
        assert path.read_bytes().startswith(begins), path


def test_a_run_shows_its_progress_epoch_by_epoch(tiny_run):
    lines = [line for line in tiny_run.stdout.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["0/3", "1/3", "2/3", "3/3"]
    assert all("memorized" in line for line in lines)
    assert all("loss" in line and "accuracy" in line for line in lines[1:])
    assert "left" in lines[-1]


def test_the_closing_table_holds_every_layer_with_its_accuracy_and_phases(tiny_run):
    dynamics = open_run(tiny_run.folder.path).dynamics
    for name in LAYERS:
        row = re.search(rf"│ {name} +│(.*)│", tiny_run.stdout)
        cells = [cell.strip() for cell in row[1].split("│")]
        here = dynamics.sel(layer=name).isel(epoch=-1)
        assert cells[0] == f"{float(here['probe_accuracy'].sel(subset='train')):.2f}"
        assert cells[1] == f"{float(here['probe_accuracy'].sel(subset='test')):.2f}"
        assert cells[2] == str(int(dynamics["phase"].sel(layer=name).max()))


def test_the_closing_lines_hold_the_models_milestones(tiny_run):
    attrs = open_run(tiny_run.folder.path).dynamics.attrs
    expected = {
        "perfect fit": "not reached",
        "memorized share": f"{attrs['memorized_share']:.2f}",
        "synchronization": f"{attrs['synchronization_mean']:.2f}",
    }
    for words, value in expected.items():
        row = next(line for line in tiny_run.stdout.splitlines() if words in line)
        assert row.split("│")[-2].strip() == value


def test_a_run_prints_the_paths_of_what_it_wrote(tiny_run):
    lines = {line.strip() for line in tiny_run.stdout.splitlines()}
    folder = tiny_run.folder
    for path in (folder.dynamics_file, folder.history_file, folder.figures):
        assert str(path) in lines
        assert path.exists()


def test_run_toml_is_the_whole_resolved_configuration(tiny_run):
    written = load_config(tiny_run.folder.config_file)
    assert Config(**written) == resolve(Config(**TINY, backend=BACKEND))
    keys = {key.name for key in dataclasses.fields(Config)}
    unset = {
        key.name
        for key in dataclasses.fields(Config)
        if getattr(resolve(Config()), key.name) is None
    }
    assert set(written) == keys - unset
    assert {"epochs", "width", "blocks", "data_seed", "learning_rate"} <= set(written)
    text = tiny_run.folder.config_file.read_text(encoding="utf-8")
    assert str(tiny_run.folder.path) not in text
    assert f'keras = "{keras.__version__}"' in text


def test_quiet_prints_the_folder_and_nothing_else(repeated):
    assert repeated.exit_code == 0, repeated.stderr
    assert repeated.stdout == f"{repeated.folder.path}\n"
    assert "repdyn" not in repeated.stderr


def test_a_runs_own_file_repeats_it_bit_for_bit(tiny_run, repeated):
    first = read_netcdf(tiny_run.folder.dynamics_file)
    second = read_netcdf(repeated.folder.dynamics_file)
    assert first.identical(second), "arrays, labels and attributes"
    for name in ("run.toml", "history.csv"):
        one, other = (run.folder.path / name for run in (tiny_run, repeated))
        assert one.read_bytes() == other.read_bytes()


def test_a_dry_run_prints_epochs_disk_and_time_and_writes_nothing(place):
    before = contents(place)
    result = repdyn("run", "tiny.toml", "--epochs", 7, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert contents(place) == before
    cells = dict(re.findall(r"│ ([\w ]+?) +│ (.*?) +│", result.stdout))
    assert cells["recorded epochs"] == "8: 0, 1, 2, 3, 4, 5, 6, 7"
    assert cells["epochs"] == "7 of 5 steps"
    assert re.fullmatch(r"\d+ MB", cells["disk"])
    assert re.match(r"about \d+:\d\d (min|h)", cells["time"])
    assert cells["layers"] == ", ".join(LAYERS)
    assert "128 for training, 64 compared, 32 for testing" in result.stdout


@pytest.mark.parametrize("seed", [50_000, 2**32])
def test_every_seed_that_is_accepted_can_run(place, seed):
    result = repdyn("run", "tiny.toml", "--seed", seed, "--dry-run")
    assert result.exit_code in (0, 2)
    if result.exit_code == 2:
        assert_refused(result, ["seed"])


def test_the_default_folder_is_named_by_its_run_and_numbered_when_taken(place):
    base = "runs/synthetic-resnet-sgd-s5"
    for taken, expected in (("", base), (base, f"{base}-2"), (f"{base}-2", f"{base}-3")):
        if taken:
            (place / taken).mkdir(parents=True)
        result = repdyn("run", "tiny.toml", "--seed", 5, "--dry-run")
        assert re.search(rf"│ folder +│ {expected} +│", result.stdout)


# Which setting wins.


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run"], resolve(Config()).epochs),
        (["run", "tiny.toml"], 3),
        (["run", "tiny.toml", "--set", "epochs=4"], 4),
        (["run", "tiny.toml", "--set", "epochs=4", "--set", "epochs=6"], 6),
        (["run", "tiny.toml", "--set", "epochs=4", "--epochs", "5"], 5),
        (["run", "--epochs", "5", "--set", "epochs=4", "tiny.toml"], 5),
    ],
)
def test_options_win_over_set_over_the_file_over_defaults(place, captured, arguments, expected):
    assert repdyn(*arguments, "--quiet").exit_code == 0
    assert resolve(captured[0]).epochs == expected


@pytest.mark.parametrize(
    ("variable", "in_file", "arguments", "expected"),
    [
        (None, None, [], "jax"),
        ("torch", None, [], "torch"),
        ("torch", "tensorflow", [], "tensorflow"),
        ("torch", "tensorflow", ["--set", "backend=jax"], "jax"),
        ("torch", "tensorflow", ["--set", "backend=jax", "--backend", "torch"], "torch"),
        ("torch", None, ["--backend", "jax"], "jax"),
    ],
)
def test_keras_backend_wins_over_the_default_alone(
    place, captured, monkeypatch, variable, in_file, arguments, expected
):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    values = {**TINY, "backend": in_file} if in_file else TINY
    (place / "tiny.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    assert repdyn("run", "tiny.toml", *arguments, "--quiet").exit_code == 0
    assert captured[0].backend == expected


def test_every_option_reaches_its_key(place, captured):
    options = ["--model", "vit", "--optimizer", "adam", "--dataset", "digits", "--seed", "9"]
    assert repdyn("run", *options, "--label-noise", "0.1", "--quiet").exit_code == 0
    assert captured == [
        Config(
            backend=BACKEND,
            model="vit",
            optimizer="adam",
            dataset="digits",
            seed=9,
            label_noise=0.1,
        )
    ]


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("blocks=1,2", "blocks", (1, 2)),
        ("blocks=[3]", "blocks", (3,)),
        ("record_epochs=0,5", "record_epochs", (0, 5)),
        ("augment=true", "augment", True),
        ("pooling=2", "pooling", 2),
        ("layers=stage1.*", "layers", "stage1.*"),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("width=none", "width", None),
        ("dataset=npz:a=b.npz", "dataset", "npz:a=b.npz"),
    ],
)
def test_set_reads_values_as_the_keys_mean_them(place, captured, pair, key, value):
    assert repdyn("run", "--set", pair, "--quiet").exit_code == 0
    assert getattr(captured[0], key) == value
    assert type(getattr(captured[0], key)) is type(value)


# The other commands.


def test_analyze_computes_the_same_dynamics_from_the_records(tiny_run, copy):
    copy.dynamics_file.unlink()
    result = repdyn("analyze", copy.path)
    assert result.exit_code == 0, result.stderr
    assert read_netcdf(copy.dynamics_file).identical(read_netcdf(tiny_run.folder.dynamics_file))
    assert all(f"│ {name} " in result.stdout for name in LAYERS)
    assert str(copy.dynamics_file) in result.stdout
    assert contents(copy.records) == contents(tiny_run.folder.records)


def test_analyze_ignores_a_half_written_temporary_file(tiny_run, copy):
    copy.dynamics_file.unlink()
    (copy.records / ".epoch-000004.nc.77.part").write_bytes(b"half")
    assert repdyn("analyze", copy.path).exit_code == 0
    assert read_netcdf(copy.dynamics_file).identical(read_netcdf(tiny_run.folder.dynamics_file))


def test_report_draws_the_figures_and_prints_their_paths(copy):
    shutil.rmtree(copy.figures)
    result = repdyn("report", copy.path)
    assert result.exit_code == 0, result.stderr
    assert {Path(line).name for line in result.stdout.splitlines()} == PICTURES
    assert all(Path(line).is_file() for line in result.stdout.splitlines())


@pytest.mark.parametrize("family", ["resnet", "vit"])
def test_layers_lists_what_can_be_recorded_and_what_is_by_default(monkeypatch, family):
    # Only names matter here, and jax compiles a draw for each shape of weights.
    module = sys.modules[f"repdyn_keras.models.{family}"]
    zeros = keras.initializers.Zeros()
    monkeypatch.setattr(module, "seeded", lambda seed: lambda kind="", **options: zeros)
    result = repdyn("layers", family)
    assert result.exit_code == 0, result.stderr
    default = re.findall(r"│ (\w+) +│[^│]*│ yes +│", result.stdout)
    blocks = [f"stage{s}_block{b}" for s in (1, 2, 3, 4) for b in (1, 2)]
    expected = {
        "resnet": ["stem", *blocks, "pooled"],
        "vit": ["patch_embedding", *(f"block{b:02d}" for b in range(1, 7)), "class_token"],
    }
    assert default == expected[family]
    assert re.search(r"│ output +│ 10 +│ always +│", result.stdout)
    named = re.findall(r"│ (\w+) +│", result.stdout)
    other = {"resnet": "stage2_block1_1_norm", "vit": "block03_attention"}
    assert other[family] in named


def test_layers_of_a_keras_file_are_listed(tmp_path):
    small_model().save(tmp_path / "mine.keras")
    result = repdyn("layers", tmp_path / "mine.keras")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"│ dense5 +│ 5 +│ yes +│", result.stdout)
    assert re.search(r"│ dense4 +│ 4 +│ yes +│", result.stdout)
    assert re.search(r"│ output +│ 3 +│ always +│", result.stdout)
    assert "dense3" not in result.stdout, "the last layer is the output"


def test_doctor_says_what_works_here():
    result = repdyn("doctor")
    assert result.exit_code == 0, result.stderr
    for package in ("keras", BACKEND):
        assert re.search(
            rf"│ {package} +│ ok │ {re.escape(metadata.version(package))} +│", result.stdout
        )


def test_doctor_names_the_extra_of_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = repdyn("doctor")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"│ ray +│ no │ pip install 'repdyn-keras\[ray\]' +│", result.stdout)


def test_doctor_survives_a_package_without_a_version(tmp_path, monkeypatch):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    result = repdyn("doctor")
    assert result.exit_code == 0, repr(result.exception)
    assert "ray" in result.stdout


def test_doctor_finds_a_whole_run_whole(tiny_run):
    result = repdyn("doctor", tiny_run.folder.path)
    assert result.exit_code == 0, result.stdout
    for name in ("constants.nc", *(f"epoch-00000{epoch}.nc" for epoch in range(4))):
        assert re.search(rf"│ records/{name} +│ ok │", result.stdout)
    assert re.search(r"│ dynamics.nc +│ ok │", result.stdout)
    assert "│ no │" not in result.stdout


def rewrite(path: Path, content: bytes) -> None:
    """Changes what a file holds and leaves its time: a damaged disk does not tell."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=times)


def cut(path: Path) -> None:
    rewrite(path, path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "half a record": ("records/epoch-000002.nc", cut),
    "an empty record": ("records/epoch-000001.nc", lambda path: rewrite(path, b"")),
    "half the constants": ("records/constants.nc", cut),
    "half the dynamics": ("dynamics.nc", cut),
    "no dynamics": ("dynamics.nc", Path.unlink),
    "no configuration": ("run.toml", Path.unlink),
    "a broken configuration": ("run.toml", lambda path: rewrite(path, b'model = "res')),
    "no history": ("history.csv", Path.unlink),
    "half-written": ("records/.epoch-000004.nc.77.part", lambda path: path.write_bytes(b"half")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_doctor_names_what_is_damaged(copy, damage):
    name, do = DAMAGES[damage]
    do(copy.path / name)
    before = contents(copy.path)
    result = repdyn("doctor", copy.path)
    assert result.exit_code == 1, result.stdout + result.stderr
    assert re.search(rf"│ {re.escape(name)} +│ no │", result.stdout), result.stdout
    assert len(re.findall(r"│ no │", result.stdout)) == 1
    assert contents(copy.path) == before


def test_an_interrupted_run_ends_with_code_130_and_one_line(place, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("repdyn_keras.experiment.run", interrupted)
    result = repdyn("run", "tiny.toml", "--quiet")
    assert result.exit_code == 130
    assert result.stderr == "repdyn: interrupted; what was written is whole.\n"


# Bad input.

BAD_VALUES = {
    "model": (["--model", "resnett"], ["model", "resnett", "resnet"]),
    "no module": (["--model", "no_such_module:f"], ["No module", "no_such_module.py"]),
    "no function": (["--model", "json:lods"], ["function of json", "lods", "loads"]),
    "no file of a model": (["--model", "none.keras"], ["No file none.keras", "model.save"]),
    "data set": (["--dataset", "digitz"], ["dataset", "digitz", "digits"]),
    "no folder": (["--dataset", "folder:x"], ["x does not exist", "PATH/CLASS/IMAGE"]),
    "backend": (["--backend", "jaxx"], ["backend", "jaxx", "jax"]),
    "optimizer": (["--optimizer", "sdg"], ["optimizer", "sdg", "sgd"]),
    "key": (["--set", "widht=3"], ["key", "widht", "width", "--keys"]),
    "no key": (["--set", "=3"], ["key"]),
    "no value": (["--set", "width"], ["width", "key=value"]),
    "schedule": (["--set", "schedule=cosin"], ["schedule", "cosin", "cosine"]),
    "batch_norm": (["--set", "batch_norm=movin"], ["batch_norm", "movin", "moving"]),
    "pooling": (["--set", "pooling=median"], ["pooling", "median", "mean", "whole number"]),
    "pooling 0": (["--set", "pooling=0"], ["pooling", "at least 1"]),
    "record_epochs": (["--set", "record_epochs=linear"], ["record_epochs", "log", "list"]),
    "record_epochs negative": (["--set", "record_epochs=1,-1"], ["record_epochs", "at least 0"]),
    "truth": (["--set", "augment=maybe"], ["augment", "true or false"]),
    "list": (["--set", "blocks=a,b"], ["blocks", "list of whole numbers"]),
    "option": (["--modle", "vit"], ["--modle", "--model"]),
    "option without value": (["--epochs"], ["--epochs"]),
    "two files": (["tiny.toml"], ["extra argument", "tiny.toml"]),
    "epochs 0": (["--epochs", "0"], ["epochs", "at least 1"]),
    "epochs -1": (["--epochs", "-1"], ["epochs", "-1", "at least 1"]),
    "epochs 1.5": (["--epochs", "1.5"], ["epochs", "1.5", "whole number"]),
    "epochs abc": (["--epochs", "abc"], ["epochs", "abc", "whole number"]),
    "epochs nan": (["--epochs", "nan"], ["epochs", "nan", "whole number"]),
    "epochs set to 0": (["--set", "epochs=0"], ["epochs", "at least 1"]),
    "noise 1": (["--label-noise", "1"], ["label_noise", "at least 0", "below 1"]),
    "noise negative": (["--label-noise", "-0.1"], ["label_noise", "-0.1", "at least 0"]),
    "noise nan": (["--label-noise", "nan"], ["label_noise", "nan", "finite"]),
    "noise text": (["--label-noise", "some"], ["label_noise", "some", "number"]),
    "seed": (["--seed", "-1"], ["seed", "-1", "at least 0"]),
    "cka_batch": (["--set", "cka_batch=3"], ["cka_batch", "3", "at least 4"]),
    "n_eval": (["--set", "n_eval=3"], ["n_eval", "3", "at least 4"]),
    "no layer": (["--set", "layers=nothing"], ["'nothing'", "resnet", "stem"]),
    "broken expression": (["--set", "layers=sta(ge"], ["sta(ge", "regular expression"]),
    "patch": (["--model", "vit", "--set", "patch=3"], ["patch = 3", "8 x 8", "divisor"]),
    "heads": (
        ["--model", "vit", "--set", "heads=3", "--set", "width=4"],
        ["heads = 3", "width = 4", "divisor"],
    ),
    "two classes": (["--set", "synthetic_classes=2"], ["3 distinct classes", "planes=0"]),
    "below a file": (["--out", "tiny.toml/new"], ["tiny.toml/new", "folder"]),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_a_bad_value_is_refused_and_nothing_is_written(place, case):
    arguments, words = BAD_VALUES[case]
    before = contents(place)
    out = [] if "--out" in arguments else ["--out", "new"]
    assert_refused(repdyn("run", "tiny.toml", *out, *arguments), words)
    assert contents(place) == before


def test_a_dry_run_refuses_what_the_run_would(place):
    arguments, words = BAD_VALUES["two classes"]
    assert_refused(repdyn("run", "tiny.toml", *arguments, "--dry-run"), words)


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--quiet"]])
def test_an_existing_folder_is_refused_and_left_as_it_is(place, copy, more):
    before = contents(copy.path)
    words = [str(copy.path), "exists", "--out", "--resume"]
    assert_refused(repdyn("run", "tiny.toml", "--out", copy.path, *more), words)
    assert contents(copy.path) == before


RESUMED = {
    "nothing": (["--resume"], ["--resume came with nothing", "repdyn run RUN --resume"]),
    "a file alone": (["tiny.toml", "--resume"], ["tiny.toml, which is no folder", "--out RUN"]),
    "two folders": (["copy", "--out", "copy", "--resume"], ["copy and --out copy", "one folder"]),
    "no run": (["tiny.toml", "--out", "taken", "--resume"], ["taken has no run.toml"]),
    "another seed": (
        ["copy", "--seed", "7", "--resume"],
        ["copy was begun with", "seed = 0", "7 came", "only --epochs"],
    ),
    "another file": (
        ["other.toml", "--out", "copy", "--resume"],
        ["copy was begun with batch_size = 24", "16 came", "only --epochs"],
    ),
    "fewer epochs": (["copy", "--epochs", "2", "--resume"], ["a run of 3 epochs", "2 came"]),
}


@pytest.mark.parametrize("case", RESUMED)
def test_resuming_what_does_not_fit_is_refused_and_nothing_is_written(place, copy, case):
    (place / "taken").mkdir()
    other = tomli_w.dumps({**TINY, "batch_size": 16})
    (place / "other.toml").write_text(other, encoding="utf-8")
    before = contents(place)
    arguments, words = RESUMED[case]
    assert_refused(repdyn("run", *arguments), words)
    assert contents(place) == before


def test_a_file_in_the_place_of_the_folder_is_refused(place):
    before = contents(place)
    assert_refused(repdyn("run", "tiny.toml", "--out", "tiny.toml"), ["tiny.toml", "exists"])
    assert contents(place) == before


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--epochs", "9"]])
def test_a_run_folder_in_the_place_of_a_file_is_refused_and_left_as_it_is(place, copy, more):
    before = contents(copy.path)
    assert_refused(repdyn("run", copy.path, *more), [str(copy.path), "run.toml", "--resume"])
    assert contents(copy.path) == before
    assert not (place / "runs").exists()


BAD_FILES = {
    "broken": (b"epochs = = 3\n", ["bad.toml", "not valid TOML", "line 1"]),
    "cut": (b'dataset = "digi', ["bad.toml", "not valid TOML"]),
    "not text": (b"\xff\xfe\x00epochs", ["bad.toml", "UTF-8"]),
    "unknown key": (b"epohcs = 3\n", ["bad.toml", "epohcs", "epochs"]),
    "a table": (b"[epochs]\na = 1\n", ["epochs", "whole number"]),
    "wrong type": (b'epochs = "ten"\n', ["epochs", "ten", "whole number"]),
    "a truth for a number": (b"epochs = true\n", ["epochs", "whole number"]),
    "a number for a truth": (b"augment = 1\n", ["augment", "true or false"]),
    "out of range": (b"label_noise = 1.0\n", ["label_noise", "below 1"]),
    "unknown value": (b'model = "vitt"\n', ["model", "vitt", "vit"]),
    "an empty list": (b"blocks = []\n", ["blocks", "list of whole numbers"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_configuration_file_is_refused(place, case):
    text, words = BAD_FILES[case]
    (place / "bad.toml").write_bytes(text)
    before = contents(place)
    assert_refused(repdyn("run", "bad.toml", "--out", "new"), words)
    assert contents(place) == before


def test_a_missing_configuration_file_is_refused(place):
    assert_refused(repdyn("run", "tinny.toml"), ["tinny.toml", "TOML"])


def archive(**changes) -> dict[str, np.ndarray]:
    """Arrays that a run takes, with changes; None leaves an array out."""
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.normal(size=(32, 8, 8)),
        "y_train": np.arange(32) % 4,
        "x_test": rng.normal(size=(8, 8, 8)),
        "y_test": np.arange(8) % 4,
    }
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


BAD_ARRAYS = {
    "missing arrays": (dict(y_test=None, x_test=None), ["x_test, y_test", "x_train"]),
    "negative labels": (dict(y_train=np.arange(32) - 1), ["y_train", "-1", "Expected 0"]),
    "labels out of range": (dict(y_test=np.arange(8) + 65_530), ["y_test", "65537", "Expected 0"]),
    "fractional labels": (dict(y_train=np.linspace(0, 3, 32)), ["y_train", "whole numbers"]),
    "labels as text": (dict(y_train=np.array(["a"] * 32)), ["y_train", "whole numbers"]),
    "other number of labels": (dict(y_train=np.arange(31) % 4), ["y_train", "(31,)", "(32,)"]),
    "one class": (dict(y_train=np.zeros(32, int), y_test=np.zeros(8, int)), ["one class", "2"]),
    "flat images": (dict(x_train=np.ones((32, 64))), ["x_train", "(32, 64)", "height"]),
    "other test images": (dict(x_test=np.ones((8, 7, 8))), ["(7, 8, 1)", "(8, 8, 1)"]),
    "missing pixels": (dict(x_train=np.full((32, 8, 8), np.nan)), ["x_train", "NaN", "finite"]),
    "objects": (dict(y_test=np.array([{}] * 8, object)), ["bad.npz", "number arrays"]),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_bad_archive_is_refused(place, case):
    changes, words = BAD_ARRAYS[case]
    np.savez(place / "bad.npz", **archive(**changes))
    before = contents(place)
    assert_refused(repdyn("run", "tiny.toml", "--dataset", "npz:bad.npz"), words)
    assert contents(place) == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["bad.npz", "archive"]),
        (b"", ["bad.npz", "archive"]),
        (b"no archive", ["bad.npz", "archive"]),
        (b"PK\x03\x04half", ["bad.npz", "archive"]),
    ],
)
def test_what_is_no_archive_is_refused(place, text, words):
    if text is not None:
        (place / "bad.npz").write_bytes(text)
    assert_refused(repdyn("run", "tiny.toml", "--dataset", "npz:bad.npz"), words)


def test_a_good_archive_is_taken(place):
    np.savez(place / "good.npz", **archive())
    options = ["--dataset", "npz:good.npz", "--set", "n_eval=32", "--dry-run"]
    result = repdyn("run", "tiny.toml", *options)
    assert result.exit_code == 0, result.stderr
    assert "runs/good-resnet-sgd-s0" in result.stdout
    assert "32 for training, 32 compared, 8 for testing" in result.stdout


@pytest.mark.parametrize("command", ["analyze", "report", "doctor"])
@pytest.mark.parametrize("kind", ["missing", "empty", "a file"])
def test_what_is_no_run_folder_is_refused(tmp_path, command, kind):
    path = tmp_path / "run"
    if kind == "empty":
        path.mkdir()
    if kind == "a file":
        path.write_text("hello")
    before = contents(tmp_path)
    words = [str(path), "records"] if kind == "empty" else [str(path), "run folder"]
    assert_refused(repdyn(command, path), words)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["records/epoch-000002.nc", "records/epoch-000000.nc", "records/constants.nc"]
)
@pytest.mark.parametrize("how", ["half", "empty", "other"])
def test_analyze_names_the_record_that_cannot_be_read(copy, name, how):
    path = copy.path / name
    whole = path.read_bytes()
    damaged = {"half": whole[: len(whole) // 2], "empty": b"", "other": b"hello " * 99}
    path.write_bytes(damaged[how])
    before = contents(copy.path)
    assert_refused(repdyn("analyze", copy.path), [str(path), "damaged"])
    assert contents(copy.path) == before


@pytest.mark.parametrize("written_by", ["another version", "another hand"])
def test_analyze_refuses_a_record_of_another_format(copy, tmp_path, written_by):
    import h5netcdf

    file = copy.record_file(1)
    shutil.copy(file, tmp_path / "changed.nc")
    with h5netcdf.File(tmp_path / "changed.nc", "a") as changed:
        changed.attrs["schema_version"] = 99
    if written_by == "another version":
        copy.write(file, (tmp_path / "changed.nc").read_bytes())
        words = ["format version", "99", "Expected 1"]
    else:
        shutil.copy(tmp_path / "changed.nc", file)
        words = ["damaged", "checksums.txt", "repdyn doctor"]
    assert_refused(repdyn("analyze", copy.path), [str(file), *words])


@pytest.mark.parametrize("name", ["run[/x]", "run [bold]"])
def test_a_folders_name_is_never_read_as_markup(copy, name):
    path = copy.path.parent / name
    shutil.copytree(copy.records, path / "records")
    result = repdyn("analyze", path)
    assert result.exit_code == 0, repr(result.exception)
    assert name in " ".join(result.stdout.split())


@keras.saving.register_keras_serializable(package="test_cli")
class Subclassed(keras.Model):
    """A model whose layers cannot be reached."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(3)

    def call(self, x):
        return self.dense(x)


def subclassed() -> keras.Model:
    model = Subclassed()
    model(np.ones((1, 2), "float32"))
    return model


def unbuilt() -> keras.Model:
    return keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(3)])


def with_hidden_output() -> keras.Model:
    names = ("first", "output", "last")
    return keras.Sequential(
        [keras.Input((2,)), *(keras.layers.Dense(3, name=name) for name in names)]
    )


def two_inputs() -> keras.Model:
    inputs = [keras.Input((2,)), keras.Input((2,))]
    hidden = keras.layers.Dense(3)(keras.layers.Add()(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(hidden))


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.parametrize(
    ("build", "words"),
    [
        (subclassed, ["subclassed", "functional or Sequential"]),
        (unbuilt, ["not built", "keras.Input"]),
        (with_hidden_output, ["A layer of", "'output'", "rename"]),
        (two_inputs, ["2 inputs", "Expected one"]),
    ],
)
def test_layers_refuses_models_that_cannot_be_recorded(tmp_path, build, words):
    build().save(tmp_path / "bad.keras")
    assert_refused(repdyn("layers", tmp_path / "bad.keras"), words)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("resnett", ["model", "resnett", "resnet"]),
        ("missing.keras", ["missing.keras", "model.save"]),
        ("half.keras", ["half.keras", "model.save"]),
    ],
)
def test_layers_refuses_what_is_no_model(place, model, words):
    (place / "half.keras").write_bytes(b"PK\x03\x04half")
    assert_refused(repdyn("layers", model), words)


@pytest.mark.parametrize("command", ["run", "layers"])
def test_a_backend_that_cannot_be_had_any_more_is_refused(place, command):
    other = next(name for name in ("jax", "torch") if name != BACKEND)
    arguments = {"run": ["run", "tiny.toml"], "layers": ["layers", "resnet"]}[command]
    assert_refused(repdyn(*arguments, "--backend", other), [other, BACKEND, "KERAS_BACKEND"])


def test_an_unknown_command_is_refused_with_the_nearest():
    assert_refused(repdyn("rnu"), ["rnu", "run", "--help"])


# The same in processes of their own.


@pytest.mark.parametrize("backend", ["jax", "tensorflow", "torch"])
def test_a_backend_that_is_not_installed_names_an_extra_that_exists(place, backend):
    # A module that is None in sys.modules is one that Python does not find.
    hidden = f"import sys; sys.modules[{backend!r}] = None"
    before = contents(place)
    result = process("run", "tiny.toml", "--backend", backend, cwd=place, before=hidden)
    assert_refused(result, [backend, "not installed", "pip install"])
    named = re.findall(r"repdyn-keras\[([\w-]+)\]", result.stderr)
    assert set(named) <= set(metadata.metadata("repdyn-keras").get_all("Provides-Extra"))
    assert bool(named) == (backend != "jax"), "jax comes with the core"
    assert contents(place) == before


PROCESSES = {
    "unknown option": (["run", "--modle", "vit"], ["--modle", "--model"]),
    "unknown model": (["run", "--model", "vitt"], ["vitt", "vit"]),
    "unknown key": (["run", "--set", "seeed=3"], ["seeed", "seed"]),
    "no epochs": (["run", "--epochs", "0"], ["epochs", "at least 1"]),
    "noise": (["run", "--label-noise", "1"], ["label_noise", "below 1"]),
    "small batches": (["run", "--set", "cka_batch=3"], ["cka_batch", "at least 4"]),
    "existing folder": (["run", "tiny.toml", "--out", "taken"], ["taken", "exists"]),
    "resume": (["run", "--out", "taken", "--resume"], ["taken has no run.toml"]),
    "nothing to resume": (["run", "--resume"], ["came with nothing", "repdyn run RUN --resume"]),
    "missing file": (["run", "none.toml"], ["none.toml", "TOML"]),
    "folder for a file": (["run", "taken"], ["taken", "run.toml"]),
    "no records": (["analyze", "taken"], ["taken", "no records"]),
    "no folder": (["analyze", "none"], ["No folder none"]),
}


@pytest.mark.parametrize("case", PROCESSES)
def test_the_command_itself_refuses_with_code_2_and_one_message(place, case):
    (place / "taken").mkdir()
    (place / "taken" / "notes.txt").write_text("mine")
    before = contents(place)
    arguments, words = PROCESSES[case]
    result = process(*arguments, cwd=place)
    assert_refused(result, words)
    assert result.stdout == ""
    assert contents(place) == before


def test_the_installed_command_is_the_packages():
    command = Path(sys.executable).with_name("repdyn")
    assert command.is_file()
    result = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert result.stdout == f"repdyn-keras {__version__}\n"
    assert isinstance(app, typer.Typer)


def test_the_option_sets_the_backend_that_keras_will_start_on():
    """KERAS_BACKEND of the environment names another one, and keras is not imported yet."""
    other = next(name for name in ("jax", "torch") if name != BACKEND)
    code = (
        "import os, sys; from repdyn_keras.experiment.backends import use_backend; "
        f"use_backend({other!r}); print(os.environ['KERAS_BACKEND'], 'keras' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.split() == [other, "False"], result.stderr
