"""The command line: output, files and exit codes."""

import dataclasses
import importlib
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
import tomli_w
from helpers import BACKEND, COMMANDS, LAYERS, TINY, assert_rejected, contents, process, repdyn

from repdyn_keras import __version__, open_run
from repdyn_keras.backends import use_backend
from repdyn_keras.cli.printing import PlanPrinter
from repdyn_keras.config import Config, load_config, resolve
from repdyn_keras.errors import Diverged, InputError, Interrupted
from repdyn_keras.experiment.plan import Plan
from repdyn_keras.records import RunFolder, read_netcdf

pytestmark = pytest.mark.one_backend

PICTURES = {"learning_curves.png", "probe_curves.png", "cka.png", "region_agreement.png"}
PICTURES |= {f"regions_plane{plane}.png" for plane in range(3)} | {"regions_plane0.gif"}
PICTURES |= {"progress.png", "synchronization.png", "suspects.png"}
OTHER = "torch" if BACKEND != "torch" else "jax"


@pytest.fixture
def trained(monkeypatch):
    """Replaces the training of `repdyn run` by a function of its configuration."""

    def instead(call):
        def run(config, *, out=None, watcher=None, dry_run=False, resume=False):
            call(config)
            return SimpleNamespace(folder=RunFolder("nowhere"))

        monkeypatch.setattr("repdyn_keras.experiment.run", run)

    return instead


def test_help_texts_and_version():
    result = repdyn("--version")
    assert (result.exit_code, result.stdout) == (0, f"repdyn-keras {__version__}\n")
    assert metadata.version("repdyn-keras") == __version__
    result = repdyn("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert re.search(rf"^\W*{name} +\w", result.stdout, re.MULTILINE)
        of_command = repdyn(name, "--help")
        assert of_command.exit_code == 0 and f"repdyn {name}" in of_command.stdout
    result = repdyn()
    assert all(name in result.stdout + result.stderr for name in COMMANDS)
    assert not re.search(r"error:\s*(`|$)", result.stderr), "the message is not empty"
    result = repdyn("run", "--keys")
    assert result.exit_code == 0
    for key in dataclasses.fields(Config):
        assert re.search(rf"^\W {key.name} +\W", result.stdout, re.MULTILINE), key.name


def test_doctor_checks_the_installation(monkeypatch):
    result = repdyn("doctor")
    assert result.exit_code == 0, result.stderr
    for package in ("keras", BACKEND):
        version = re.escape(metadata.version(package))
        assert re.search(rf"│ {package} +│ ok │ {version} +│", result.stdout)

    def version(name):
        raise metadata.PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", version)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # a module that cannot be found
    result = repdyn("doctor")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"│ keras +│ ok │ unknown version +│", result.stdout)
    words = r"│ tensorflow-datasets +│ no │ pip install 'repdyn-keras\[tfds\]' +│"
    assert re.search(words, result.stdout)


def test_layers_lists_recordable_layers_and_the_default(monkeypatch):
    # For speed: jax compiles a function for every shape of weights drawn.
    zeros = keras.initializers.Zeros()
    blocks = [f"stage{s}_block{b}" for s in (1, 2, 3, 4) for b in (1, 2)]
    encoder = [f"block{b:02d}" for b in range(1, 7)]
    for family, expected, other in (
        ("resnet", ["stem", *blocks, "pooled"], "stage2_block1_1_norm"),
        ("vit", ["patch_embedding", *encoder, "class_token"], "block03_attention"),
    ):
        module = importlib.import_module(f"repdyn_keras.models.{family}")
        monkeypatch.setattr(module, "seeded", lambda seed: lambda kind="", **options: zeros)
        result = repdyn("layers", family)
        assert result.exit_code == 0, result.stderr
        assert re.findall(r"─ (\w+) .* recorded\n", result.stdout) == expected
        assert re.search(r"─ output +10 +Dense +recorded as output\n", result.stdout)
        assert re.search(rf"─ {other} ", result.stdout)
        assert re.search(r"By default: \d+ layers that match .*; and output.", result.stdout, re.S)
    if family == "vit":
        assert re.search(r"├── block03_attention  .*\n│   ├── query ", result.stdout)
    tree = repdyn("layers", "helpers:small_model").stdout
    rows = [tuple(row.split()[1:]) for row in tree.splitlines() if "─" in row]
    assert rows[-3:] == [
        ("dense5", "5", "Dense", "recorded"),
        ("dense4", "4", "Dense", "recorded"),
        ("dense3", "3", "Dense", "recorded", "as", "output"),
    ]


def test_a_run_writes_all_documented_files_and_prints_their_paths(tiny_run):
    assert tiny_run.exit_code == 0, tiny_run.stderr
    folder = tiny_run.folder
    files = {"run.toml", "history.csv", "timing.csv", "dynamics.nc", "checksums.txt", ".lock"}
    files.add("report.html")
    folders = {"records", "checkpoint", "weights", "figures"}
    assert {path.name for path in folder.path.iterdir()} == files | folders
    assert [path.name for path in (folder.path / "checkpoint").iterdir()] == ["state.nc"]
    records = {"constants.nc", *(f"epoch-00000{epoch}.nc" for epoch in range(4))}
    assert {path.name for path in folder.records.iterdir()} == records
    assert {path.name for path in folder.figures.iterdir()} == PICTURES
    for path in folder.figures.iterdir():
        assert path.read_bytes().startswith(b"GIF8" if path.suffix == ".gif" else b"\x89PNG")
    lines = {line.strip() for line in tiny_run.stdout.splitlines()}
    assert lines >= {str(folder.dynamics_file), str(folder.history_file), str(folder.figures)}
    whole = repdyn("doctor", folder.path)
    assert whole.exit_code == 0 and "│ no │" not in whole.stdout, whole.stdout
    for name in (*(f"records/{record}" for record in records), "dynamics.nc"):
        assert re.search(rf"│ {name} +│ ok │", whole.stdout), name


def test_a_run_prints_its_progress_and_results(tiny_run):
    lines = [line for line in tiny_run.stdout.splitlines() if line.startswith("epoch ")]
    assert [line.split()[1] for line in lines] == ["0/3", "1/3", "2/3", "3/3"]
    assert all("memorized" in line for line in lines)
    assert all("loss" in line and "accuracy" in line for line in lines[1:])
    assert "left" in lines[-1]
    dynamics = open_run(tiny_run.folder.path).dynamics
    for name in LAYERS:
        here = dynamics.sel(layer=name).isel(epoch=-1)["probe_accuracy"]
        shown = [f"{float(here.sel(subset=subset)):.2f}" for subset in ("train", "test")]
        shown.append(f"{dynamics['settling_epoch'].sel(layer=name):.0f}")
        row = re.search(rf"│ {name} +│(.*)│", tiny_run.stdout)[1]
        assert [cell.strip() for cell in row.split("│")] == shown
    assert tiny_run.stdout.count("Fewer than 8 recorded epochs: no phases.") == 1
    for words, value in {
        "perfect fit": "not reached",
        "memorized share": f"{dynamics.attrs['memorized_share']:.2f}",
        "synchronization": f"{dynamics.attrs['synchronization_mean']:.2f}".replace("nan", "-"),
    }.items():
        row = next(line for line in tiny_run.stdout.splitlines() if words in line)
        assert row.split("│")[-2].strip() == value


def test_run_toml_is_the_whole_resolved_configuration_and_repeats_the_run(tiny_run, repeated):
    written = load_config(tiny_run.folder.config_file)
    config = resolve(Config(**TINY, backend=BACKEND))
    assert Config(**written) == config
    assert set(written) == {k for k, v in dataclasses.asdict(config).items() if v is not None}
    text = tiny_run.folder.config_file.read_text(encoding="utf-8")
    assert str(tiny_run.folder.path) not in text
    assert f'keras = "{keras.__version__}"' in text
    assert repeated.exit_code == 0, repeated.stderr
    assert repeated.stdout == f"{repeated.folder.path}\n", "--quiet"
    assert "repdyn" not in repeated.stderr
    first, second = (read_netcdf(run.folder.dynamics_file) for run in (tiny_run, repeated))
    assert first.identical(second), "arrays, labels and attributes"
    for name in ("run.toml", "history.csv"):
        one, other = (run.folder.path / name for run in (tiny_run, repeated))
        assert one.read_bytes() == other.read_bytes()


def test_a_dry_run_prints_epochs_disk_and_time_and_writes_nothing(place):
    # The folder is named after the run, with a number where that name is taken.
    base = f"runs/synthetic-resnet-sgd-s{2**32}"
    (place / base).mkdir(parents=True)
    (place / f"{base}-2").mkdir()
    before = contents(place)
    result = repdyn("run", "tiny.toml", "--epochs", 7, "--seed", 2**32, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert contents(place) == before
    cells = dict(re.findall(r"│ ([\w ]+?) +│ (.*?) +│", result.stdout))
    assert cells["recorded epochs"] == "8: 0, 1, 2, 3, 4, 5, 6, 7"
    assert cells["epochs"] == "7 of 5 steps"
    assert re.fullmatch(r"\d+\.\d MB", cells["disk"])
    assert re.match(r"about \d+ (s|min|h)", cells["time"])
    assert cells["layers"] == ", ".join(LAYERS)
    assert cells["images"] == "128 training, 64 evaluation, 32 test"
    assert cells["folder"] == f"{base}-3"
    result = repdyn("run", "tiny.toml", "--set", "n_train=100", "--dry-run")
    words = " ".join(result.stdout.split())
    assert "100 of 128 training, 64 evaluation, 32 test" in words
    assert "100 of the 128 training images of synthetic are used (n_train)" in words


def test_the_plan_of_a_long_run_gives_its_time_in_days(tmp_path, capsys):
    plan = Plan(
        epochs=[0, 1],
        layers=LAYERS,
        parameters=1,
        steps=1,
        images=(8, 8, 8),
        images_available=8,
        disk_bytes=1,
        images_trained=1,
        images_recorded=1,
        seconds=3734 * 3600 + 52 * 60,
    )
    PlanPrinter().started(RunFolder(tmp_path), resolve(Config()), plan)
    assert re.search(r"│ time +│ about 156 d, without", capsys.readouterr().out)


def test_every_option_sets_its_key_and_takes_precedence(place, trained, monkeypatch):
    configs = []
    trained(configs.append)
    options = {"model": "vit", "optimizer": "adam", "dataset": "digits", "backend": "torch"}
    options |= {"seed": 9, "label_noise": 0.1, "epochs": 5, "data_dir": "there"}
    given = [part for k, v in options.items() for part in (f"--{k.replace('_', '-')}", v)]
    assert repdyn("run", *given, "--download", "--quiet").exit_code == 0
    assert configs.pop() == Config(**options, download=True)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    given = ["--epochs", "5", "--set", "epochs=4", "--set", "seed=8", "tiny.toml", "--quiet"]
    assert repdyn("run", *given).exit_code == 0
    assert configs == [Config(**{**TINY, "backend": "torch", "seed": 8, "epochs": 5})]


def test_the_backend_is_set_before_keras_starts_or_its_extra_is_named(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", BACKEND)
    monkeypatch.delitem(sys.modules, "keras")
    extras = metadata.metadata("repdyn-keras").get_all("Provides-Extra")
    for backend in ("jax", "tensorflow", "torch"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, backend, None)
            with pytest.raises(
                InputError, match=f"{backend}.*not installed.*pip install"
            ) as printed:
                use_backend(backend)
            patch.setitem(sys.modules, backend, SimpleNamespace(__spec__="found"))
            use_backend(backend)
        assert os.environ["KERAS_BACKEND"] == backend and "keras" not in sys.modules
        named = re.findall(r"repdyn-keras\[([\w-]+)\]", str(printed.value))
        assert set(named) <= set(extras)
        assert bool(named) == (backend != "jax"), "jax is not an extra"


def test_analyze_computes_the_same_dynamics_from_the_records(tiny_run, copy):
    expected = read_netcdf(tiny_run.folder.dynamics_file)
    copy.dynamics_file.unlink()
    (copy.records / ".epoch-000004.nc.77.part").write_bytes(b"half")
    result = repdyn("analyze", copy.path)
    assert result.exit_code == 0, result.stderr
    assert read_netcdf(copy.dynamics_file).identical(expected)
    assert all(f"│ {name} " in result.stdout for name in LAYERS)
    assert str(copy.dynamics_file) in result.stdout
    (copy.records / ".epoch-000004.nc.77.part").unlink(missing_ok=True)
    assert contents(copy.records) == contents(tiny_run.folder.records)
    shutil.copytree(copy.records, copy.path.parent / "run[/x]" / "records")
    result = repdyn("analyze", copy.path.parent / "run[/x]")
    assert result.exit_code == 0, repr(result.exception)
    assert "run[/x]" in " ".join(result.stdout.split()), "no markup"


@pytest.mark.long
def test_figures_are_drawn_and_their_paths_printed(copy):
    shutil.rmtree(copy.figures)
    result = repdyn("figures", copy.path, "--zoom")
    assert result.exit_code == 0, result.stderr
    zoomed = {"cka_zoomed.png", "region_agreement_zoomed.png"}
    assert {Path(line).name for line in result.stdout.splitlines()} == PICTURES | zoomed
    assert all(Path(line).is_file() for line in result.stdout.splitlines())


def test_errors_are_one_line_and_an_exit_code(place, trained):
    for error, code, line in (
        (KeyboardInterrupt(), 130, "interrupted; the files written so far are intact."),
        (Interrupted("ended by SIGTERM.", 15), 143, "ended by SIGTERM."),
        (Diverged("The loss is nan."), 1, "error: The loss is nan."),
        (InputError("No such thing."), 2, "error: No such thing."),
        (MemoryError("of 9 GB"), 1, "error: Not enough memory. Expected fewer"),
        (OSError(28, "No space left", "x.nc"), 2, "error: Cannot use x.nc. Expected a path"),
        (OSError("strange"), 2, "error: Cannot use. Expected a path"),
    ):

        def check_failure(config, error=error):
            raise error

        trained(check_failure)
        result = repdyn("run", "tiny.toml", "--quiet")
        assert result.exit_code == code
        assert result.stderr.startswith(f"repdyn: {line}") and result.stderr.count("\n") == 1


def test_an_existing_run_is_left_unchanged(place, copy):
    other = tomli_w.dumps({**TINY, "batch_size": 16})
    (place / "other.toml").write_text(other, encoding="utf-8")
    before = contents(place)
    for arguments, words in {
        "tiny.toml --out copy": ["copy exists", "--out", "--resume"],
        "tiny.toml --out copy --dry-run": ["copy exists"],
        "copy --epochs 9": ["the folder copy", "run.toml", "--resume"],
        "copy --out copy --resume": ["copy and --out copy", "one folder"],
        "other.toml --out copy --resume": [
            "Expected batch_size = 24, as in",
            "Received: 16",
            "only --epochs",
        ],
        "copy --epochs 2 --resume": ["at least 3 epochs, the length of", "Received: 2"],
    }.items():
        assert_rejected(repdyn("run", *arguments.split()), words)
        assert contents(place) == before, arguments


def test_the_installed_command_rejects_invalid_input_in_a_separate_process(place):
    command = Path(sys.executable).with_name("repdyn")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert result.stdout == f"repdyn-keras {__version__}\n"
    before = contents(place)
    hidden = f"import sys; sys.modules[{OTHER!r}] = None"
    ascii_alone = "import sys; sys.stderr.reconfigure(encoding='ascii', errors='backslashreplace')"
    for first, arguments, words in (
        (hidden, ["run", "tiny.toml", "--backend", OTHER], [OTHER, "not installed", "pip install"]),
        ("import os; os.environ['KERAS_BACKEND'] = 'mxnet'", ["run"], ["mxnet", "jax"]),
        (ascii_alone, ["run", "né\u202e" + os.fsdecode(b"\xff")], ["n\\xe9\\u202e\\udcff"]),
    ):
        result = process(*arguments, cwd=place, before=first)
        assert_rejected(result, words)
        assert result.stdout == "" and contents(place) == before
