"""Bad command lines and configuration files: code 2, one short message, nothing written."""

import os
import string
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import keras
import pytest
import tomli_w
from helpers import COMMANDS, contents, repdyn, small_model, write_run
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from repdyn_keras.config.keys import KEYS, TYPES
from repdyn_keras.errors import HIDDEN, quoted
from repdyn_keras.records.lock import LOCK

LONG = "x" * 10_000
SPACED = "x y " * 2500
ESCAPE = "\x1b]8;;http://example.com\x1b\\\x1b[2Jhere\x07"
TURNED = "\u202egnp.exe"
NOT_UTF8 = os.fsdecode(b"\xff\xfe")
DIGITS = "9" * 5000
NO_USER = "~no-such-user/x"
LONGEST = 1100
# A command whose further arguments decide that it is bad.
KEYED = {
    "run": ["run", "tiny.toml", "--out", "new"],
    "layers": ["layers", "mine.keras"],
    "record": ["record", "empty", "--out", "new"],
}

OWN_CODE = """
import sys
import keras

def build(image_shape, n_classes):
    layers = keras.layers
    return keras.Sequential([
        keras.Input(image_shape), layers.Flatten(),
        *(layers.Dense(3, kernel_initializer="zeros") for _ in range(3)),
        layers.Dense(n_classes, kernel_initializer="zeros"),
    ])

def fails(image_shape):
    raise TypeError("first line\\nsecond line \\x1b[31m")

def ends():
    sys.exit(0)

def lacks():
    import no_such_package

def none():
    return None

def needs(depth):
    return None
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with something of everything; no bad input changes it."""
    path = tmp_path_factory.mktemp("place")
    (path / "tiny.toml").write_text('dataset = "synthetic"\nsynthetic_train = 32\n')
    (path / "empty").mkdir()
    (path / "taken").mkdir()
    (path / "taken" / "notes.txt").write_text("mine")
    (path / "half.npz").write_bytes(b"PK\x03\x04half")
    (path / "half.keras").write_bytes(b"PK\x03\x04half")
    (path / "folder.keras").mkdir()
    (path / "folder.toml").mkdir()
    (path / "loop").symlink_to("loop")
    (path / "own.py").write_text(OWN_CODE)
    (path / "broken.py").write_text("def build(:\n")
    (path / "raises.py").write_text("raise RuntimeError('not today')\n")
    (path / "classes" / "one").mkdir(parents=True)
    small_model().save(path / "mine.keras")
    write_run(path / "whole", epochs=(0, 1))
    write_run(path / "other", epochs=(0, 1), layers=("stem", "output"))
    write_run(path / "damaged", epochs=(0, 1))
    (path / "damaged" / "records" / "epoch-000001.nc").write_bytes(b"half")
    write_run(path / "strange", epochs=(0, 1))
    (path / "strange" / "run.toml").write_bytes(b'model = "\xff"\n')
    return path


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    """Stands in the folder; what would train is a failure at once."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", sys.path[:])

    def trained(*args, **kwargs):
        raise AssertionError("bad input was trained")

    monkeypatch.setattr("repdyn_keras.experiment.training.Training.fit", trained)


def assert_refused(code: int, stdout: str, stderr: str, words=()):
    """One message of one line that a terminal shows as it is, and code 2."""
    said = f"code {code}\n{stdout}\n{stderr}"
    assert code == 2, said
    assert stdout == "", said
    assert stderr.startswith("repdyn: error: "), said
    assert stderr.endswith("\n") and len(stderr.splitlines()) == 1, said
    assert stderr.count("repdyn: error:") == 1
    assert "Traceback" not in stderr
    assert len(stderr) < LONGEST, f"{len(stderr)} letters: {stderr}"
    assert not [c for c in stderr[:-1] if unicodedata.category(c) in HIDDEN], ascii(stderr)
    for word in words:
        assert word in stderr, f"{word!r} is not in {stderr!r}"


def refused(place: Path, arguments, words=()):
    """Runs a command that must refuse what came and leave the folder as it is."""
    before = written(place)
    result = repdyn(*arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert_refused(result.exit_code, result.stdout, result.stderr, words)
    assert written(place) == before


def written(place: Path) -> dict[str, str]:
    """What the folder holds; a run's lock stays once it was taken, and modules leave caches."""
    return {
        name: held
        for name, held in contents(place).items()
        if Path(name).name != LOCK and "__pycache__" not in name
    }


# Command lines, by hand.

ANY_COMMAND = {
    "unknown command": (["rnu"], ["rnu", "run"]),
    "unknown command far from all": (["qqqqqqq"], ["qqqqqqq", "--help"]),
    "command in capitals": (["RUN"], ["RUN"]),
    "empty command": ([""], ["--help"]),
    "command of spaces": (["   "], ["--help"]),
    "command with an escape": ([ESCAPE], ["\\x1b"]),
    "command that turns letters": ([TURNED], ["\\u202e"]),
    "long command": ([LONG], ["…", "--help"]),
    "long command with spaces": ([SPACED], ["…", "--help"]),
    "command that is not UTF-8": ([NOT_UTF8], ["\\udcff"]),
    "option before a command": (["--epochs", "3"], ["--epochs"]),
    "value for --version": (["--version=3"], ["--version"]),
    "unknown option": (["run", "--epoch", "3"], ["--epoch", "--epochs"]),
    "unknown option of layers": (["layers", "vit", "--outpt", "x"], ["--outpt", "--output"]),
    "unknown option of record": (["record", "empty", "--lik", "x"], ["--lik", "--like"]),
    "unknown option of compare": (["compare", "a", "b", "--layr", "x"], ["--layr", "--layer"]),
    "unknown option of doctor": (["doctor", "--repare"], ["--repare", "--repair"]),
    "unknown option of analyze": (["analyze", "whole", "--out", "x"], ["--out"]),
    "unknown option of report": (["report", "whole", "--pdf"], ["--pdf"]),
    "unknown short option": (["run", "-e", "3"], ["-e"]),
    "option with an escape": (["run", "--\x1b[31mred"], ["\\x1b[31m"]),
    "long option": (["run", f"--{LONG}"], ["…", "--help"]),
    "option without value": (["run", "--epochs"], ["--epochs"]),
    "set without value": (["run", "--set"], ["--set"]),
    "model without value": (["layers", "vit", "--set"], ["--set"]),
    "like without value": (["record", "empty", "--like"], ["--like"]),
    "epoch without value": (["compare", "a", "b", "--epoch"], ["--epoch"]),
    "value for a flag": (["run", "--quiet=yes"], ["--quiet", "value"]),
    "value for --dry-run": (["run", "--dry-run=1"], ["--dry-run", "value"]),
    "option twice without value": (["run", "--seed", "--epochs"], ["--epochs"]),
    "options after --": (["run", "--", "--epochs", "3"], ["argument"]),
    "two configurations": (["run", "tiny.toml", "tiny.toml"], ["extra argument"]),
    "no run to analyze": (["analyze"], ["RUN"]),
    "no run to report": (["report"], ["RUN"]),
    "one run to compare": (["compare", "whole"], ["RUN"]),
    "three runs to compare": (["compare", "a", "b", "c"], ["extra argument"]),
    "no model": (["layers"], ["MODEL"]),
    "no checkpoints": (["record"], ["CHECKPOINTS"]),
    "repair of nothing": (["doctor", "--repair"], ["--repair", "Expected"]),
}

SETTINGS = {
    "set without =": (["--set", "width"], ["'width'", "key=value"]),
    "set of nothing": (["--set", ""], ["key=value"]),
    "set of =": (["--set", "="], ["key ''"]),
    "set of a long key": (["--set", f"{LONG}=3"], ["Unknown key", "…", "--keys"]),
    "set of a long text": (["--set", LONG], ["…", "key=value"]),
    "set of a key with an escape": (["--set", "\x1b[2J=3"], ["\\x1b[2J"]),
    "set of a key in capitals": (["--set", "EPOCHS=3"], ["EPOCHS", "epochs"]),
    "set of a key with a NUL": (["--set", "epochs\0=3"], ["\\x00", "epochs"]),
    "set of a key like a Greek one": (["--set", "\u03b5pochs=3"], ["epochs"]),
    "seed empty": (["--set", "seed="], ["seed = ''", "whole number"]),
    "seed of thousands of digits": (["--set", f"seed={DIGITS}"], ["seed"]),
    "seed as a huge float": (["--set", "seed=1e300"], ["seed", "9223372036854775807"]),
    "seed negative": (["--set", "seed=-1"], ["seed = -1", "at least 0"]),
    "seed beyond TOML": (["--set", f"seed={2**63}"], ["seed", "9223372036854775807"]),
    "seed in hexadecimal": (["--set", "seed=0x10"], ["'0x10'", "whole number"]),
    "epochs long": (["--set", f"epochs={LONG}"], ["epochs = 'xxx", "…", "whole number"]),
    "epochs with spaces": (["--set", f"epochs={SPACED}"], ["…", "whole number"]),
    "epochs with an escape": (["--set", f"epochs={ESCAPE}"], ["\\x1b", "whole number"]),
    "epochs huge": (["--set", f"epochs={2**63 - 1}"], ["at most 1000000"]),
    "epochs half": (["--set", "epochs=1.5"], ["epochs = 1.5", "whole number"]),
    "epochs infinite": (["--set", "epochs=inf"], ["whole number"]),
    "noise above all": (["--set", "label_noise=1e400"], ["label_noise = inf", "finite"]),
    "noise in percent": (["--set", "label_noise=20%"], ["'20%'", "a number"]),
    "noise with a comma": (["--set", "label_noise=0,2"], ["'0,2'", "a number"]),
    "rate beyond float32": (["--set", "learning_rate=1e308"], ["at most 1000000"]),
    "rate not a number": (["--set", "learning_rate=nan"], ["finite"]),
    "margin huge": (["--set", "margin=1e308"], ["at most 100"]),
    "blocks of thousands of digits": (["--set", f"blocks={DIGITS}"], ["blocks", "whole numbers"]),
    "blocks empty list": (["--set", "blocks=[]"], ["'[]'", "list of whole numbers"]),
    "blocks of nothing": (["--set", "blocks=,"], ["list of whole numbers"]),
    "blocks many in one": (["--set", "blocks=1000000"], ["at most 1000"]),
    "record_epochs long": (["--set", f"record_epochs={LONG}"], ["record_epochs", "…", "log"]),
    "record_epochs negative": (["--set", "record_epochs=0,-1"], ["at least 0"]),
    "pooling long": (["--set", f"pooling={LONG}"], ["pooling", "…", "mean"]),
    "planes huge": (["--set", f"planes={10**9}"], ["at most 10000"]),
    "resolution huge": (["--set", f"resolution={10**9}"], ["at most 1000"]),
    "image_size huge": (["--set", f"image_size={2**62}"], ["at most 16384"]),
    "truth as a number": (["--set", "standardize=1"], ["true or false"]),
    "layers that is no expression": (["--set", "layers=("], ["regular expression"]),
    "layers nested deeply": (["--set", f"layers={'(' * 9000}"], ["regular expression", "…"]),
    "layers repeated too often": (["--set", f"layers=a{{{DIGITS[:20]}}}"], ["repetition"]),
    "backend unknown": (["--backend", "pytorch"], ["pytorch", "torch"]),
    "backend long": (["--backend", LONG], ["backend", "…", "jax"]),
    "data_dir not UTF-8": (["--set", f"data_dir={NOT_UTF8}"], ["data_dir", "Unicode"]),
    "data_dir with a NUL": (["--set", "data_dir=a\0b"], ["data_dir", "NUL"]),
    "data_dir of no user": (["--set", f"data_dir={NO_USER}"], ["no-such-user", "home"]),
    "data_dir long": (["--set", f"data_dir={LONG}"], ["name too long", "…", "Expected"]),
}

VALUES = {
    "model empty": (["run", "--model", ""], ["Unknown model ''", "resnet"]),
    "model long": (["run", "--model", LONG], ["Unknown model", "…", "resnet"]),
    "model with an escape": (["run", "--model", ESCAPE], ["\\x1b", "module:function"]),
    "model with a NUL": (["layers", "a\0.keras"], ["NUL"]),
    "model not UTF-8": (["layers", f"{NOT_UTF8}.keras"], ["Unicode"]),
    "model that is a folder": (["layers", "empty"], ["Unknown model 'empty'", "FILE.keras"]),
    "saved model that is a folder": (["layers", "folder.keras"], ["folder.keras", "model.save"]),
    "saved model that is missing": (["layers", "none.keras"], ["No file none.keras"]),
    "saved model cut in half": (["layers", "half.keras"], ["half.keras", "model.save"]),
    "saved model of no user": (["layers", f"{NO_USER}.keras"], ["no-such-user", "home"]),
    "saved model of a long name": (["layers", f"{LONG}.keras"], ["name too long", "…"]),
    "saved model in a loop": (["layers", "loop/x.keras"], ["symbolic links"]),
    "output that is none": (["layers", "mine.keras", "--output", "x"], ["'x'", "dense3"]),
    "output long": (["layers", "mine.keras", "--output", LONG], ["…", "dense3"]),
    "layers that match nothing": (
        ["layers", "own:build", "--set", "layers=nothing"],
        ["'nothing'", "dense"],
    ),
    "module long": (["layers", f"{LONG}:f"], ["…", "module"]),
    "module missing": (["layers", "no_such:f"], ["No module 'no_such'", "no_such.py"]),
    "module with a path": (["layers", "a/b:f"], ["'a/b:f'", "module:function"]),
    "module relative": (["layers", "..own:build"], ["module:function"]),
    "module of a keyword": (["layers", "class:def"], ["class"]),
    "module with no function": (["layers", "own:"], ["module:function"]),
    "module broken": (["layers", "broken:build"], ["SyntaxError", "Expected"]),
    "module that raises": (["layers", "raises:build"], ["RuntimeError", "not today", "line 1"]),
    "function unknown": (["layers", "own:biuld"], ["biuld", "build"]),
    "function long": (["layers", f"own:{LONG}"], ["…", "build"]),
    "function that raises": (["layers", "own:fails"], ["TypeError", "\\n", "\\x1b", "line "]),
    "function that ends the program": (["layers", "own:ends"], ["SystemExit", "keras.Model"]),
    "function that lacks a package": (["layers", "own:lacks"], ["no_such_package", "own.py"]),
    "function that returns nothing": (["layers", "own:none"], ["NoneType", "keras.Model"]),
    "function of other arguments": (["layers", "own:needs"], ["depth", "image_shape"]),
    "function that is a number": (["layers", "sys:maxsize"], ["function of sys", "maxsize"]),
    "function that exits": (["layers", "sys:exit"], ["SystemExit"]),
    "preset of another network": (
        ["layers", "resnet", "--set", "preset=vit-s16"],
        ["preset", "vit-s16", "resnet18"],
    ),
    "preset of a saved network": (
        ["layers", "mine.keras", "--set", "preset=vit-s16"],
        ["preset", "Expected none"],
    ),
    "width beyond the memory": (["layers", "resnet", "--set", "width=100000"], ["memory", "GB"]),
    "stages beyond the memory": (
        ["layers", "resnet", "--set", f"blocks={'1,' * 3000}1"],
        ["3001 stages", "memory", "Expected a smaller width or blocks"],
    ),
    "depth beyond the memory": (
        ["layers", "vit", "--set", "depth=1000", "--set", "width=100000"],
        ["memory", "Expected a smaller width or depth"],
    ),
    "images beyond the memory": (
        ["run", "--dataset", "synthetic", "--set", "synthetic_train=1000000000"],
        ["memory", "Expected a smaller synthetic_train"],
    ),
    "heads that do not divide": (
        ["layers", "vit", "--set", "heads=7"],
        ["heads = 7", "width = 64", "divisor"],
    ),
    "patch that does not divide": (
        ["run", "--model", "vit", "--set", "patch=3"],
        ["patch = 3", "8 x 8", "divisor"],
    ),
    "dataset empty": (["run", "--dataset", ""], ["Unknown dataset ''", "digits"]),
    "dataset unknown": (["run", "--dataset", "mnist"], ["mnist", "tfds:NAME"]),
    "dataset long": (["run", "--dataset", LONG], ["…", "digits"]),
    "dataset of nothing": (["run", "--dataset", "npz:"], ["npz:FILE"]),
    "archive with a NUL": (["run", "--dataset", "npz:a\0b"], ["NUL"]),
    "archive missing": (["run", "--dataset", "npz:none.npz"], ["No file none.npz"]),
    "archive that is a folder": (["run", "--dataset", "npz:empty"], ["empty", "archive"]),
    "archive cut in half": (["run", "--dataset", "npz:half.npz"], ["half.npz", "numpy.savez"]),
    "archive of a long name": (["run", "--dataset", f"npz:{LONG}"], ["name too long", "…"]),
    "archive of no user": (["run", "--dataset", f"npz:{NO_USER}"], ["no-such-user", "home"]),
    "archive without an end": (["run", "--dataset", "npz:/dev/zero"], ["/dev/zero", "archive"]),
    "images missing": (["run", "--dataset", "folder:none"], ["none does not exist"]),
    "images in a file": (["run", "--dataset", "folder:tiny.toml"], ["is a file", "PATH/CLASS"]),
    "images of no class": (["run", "--dataset", "folder:empty"], ["no class folders"]),
    "images of one class": (["run", "--dataset", "folder:classes"], ["one class folder"]),
    "images with a NUL": (["run", "--dataset", "folder:a\0b"], ["NUL"]),
    "images of no user": (["run", "--dataset", f"folder:{NO_USER}"], ["no-such-user", "home"]),
    "images of a long name": (["run", "--dataset", f"folder:{LONG}"], ["name too long", "…"]),
    "images not UTF-8": (["run", "--dataset", f"folder:{NOT_UTF8}"], ["Unicode"]),
    "images in a loop": (["run", "--dataset", "folder:loop"], ["symbolic links"]),
    "tfds of no name": (["run", "--dataset", "tfds:../x"], ["tfds:NAME"]),
    "tfds long": (["run", "--dataset", f"tfds:{'m' * 10_000}"], ["…", "Expected"]),
}

PATHS = {
    "configuration missing": (["run", "none.toml"], ["none.toml", "TOML"]),
    "configuration empty name": (["run", ""], ["folder", "TOML"]),
    "configuration that is a folder": (["run", "folder.toml"], ["folder.toml", "TOML"]),
    "configuration below a file": (["run", "tiny.toml/x"], ["tiny.toml/x", "TOML"]),
    "configuration with a NUL": (["run", "a\0b.toml"], ["\\x00", "NUL"]),
    "configuration of a long name": (["run", LONG], ["name too long", "…"]),
    "configuration of no user": (["run", NO_USER], ["no-such-user", "home"]),
    "configuration in a loop": (["run", "loop"], ["symbolic links"]),
    "configuration without an end": (["run", "/dev/zero"], ["/dev/zero", "1048576 bytes"]),
    "configuration with an escape": (["run", "\x1b[2J.toml"], ["\\x1b[2J", "TOML"]),
    "configuration not UTF-8 by name": (["run", NOT_UTF8], ["\\udcff", "TOML"]),
    "out that is there": (["run", "tiny.toml", "--out", "taken"], ["taken exists", "--out"]),
    "out empty": (["run", "tiny.toml", "--out", ""], ["exists", "--out"]),
    "out that is a file": (["run", "tiny.toml", "--out", "tiny.toml"], ["exists"]),
    "out below a file": (
        ["run", "tiny.toml", "--model", "own:build", "--out", "tiny.toml/new"],
        ["tiny.toml/new", "--out DIR"],
    ),
    "out with a NUL": (["run", "tiny.toml", "--out", "a\0b"], ["NUL"]),
    "out of a long name": (["run", "tiny.toml", "--out", LONG], ["name too long"]),
    "out of no user": (["run", "tiny.toml", "--out", NO_USER], ["no-such-user"]),
    "out in a loop": (["run", "tiny.toml", "--out", "loop/x"], ["symbolic links"]),
    "resume of nothing": (["run", "--resume"], ["--resume", "repdyn run RUN --resume"]),
    "resume of a missing folder": (["run", "none", "--resume"], ["none", "no folder"]),
    "resume of a file": (["run", "tiny.toml", "--resume"], ["tiny.toml", "no folder"]),
    "resume of a file by --out": (["run", "--out", "tiny.toml", "--resume"], ["no run.toml"]),
    "resume of two": (["run", "taken", "--out", "empty", "--resume"], ["Expected one folder"]),
    "checkpoints missing": (["record", "none"], ["No folder none", "weights.h5"]),
    "checkpoints in a file": (["record", "tiny.toml"], ["No folder tiny.toml"]),
    "checkpoints of none": (["record", "empty"], ["holds no checkpoints"]),
    "checkpoints of another kind": (["record", "taken"], ["holds no checkpoints"]),
    "checkpoints with a NUL": (["record", "a\0b"], ["CHECKPOINTS", "null byte"]),
    "checkpoints of no user": (["record", NO_USER], ["no-such-user", "home"]),
    "like missing": (["record", "empty", "--like", "none"], ["No folder none"]),
    "like empty": (["record", "empty", "--like", ""], ["no records"]),
    "like with a NUL": (["record", "empty", "--like", "a\0b"], ["NUL"]),
    "like a file": (["record", "empty", "--like", "tiny.toml"], ["No folder tiny.toml"]),
    "like a callback's run": (["record", "empty", "--like", "whole"], ["no run.toml"]),
    "like a run that is not UTF-8": (["record", "empty", "--like", "strange"], ["UTF-8"]),
    "record out of no user": (["record", "empty", "--out", NO_USER], ["no-such-user"]),
    "analyze damaged": (["analyze", "damaged"], ["epoch-000001.nc"]),
    "report damaged": (["report", "damaged"], ["epoch-000001.nc"]),
    "compare with damaged": (["compare", "whole", "damaged"], ["epoch-000001.nc"]),
    "compare an epoch of none": (
        ["compare", "whole", "other", "--epoch", "7"],
        ["epoch", "7", "whole"],
    ),
    "compare a layer of none": (
        ["compare", "whole", "other", "--layer", "stm"],
        ["layer", "'stm'", "stem"],
    ),
    "compare into a file": (
        ["compare", "whole", "other", "--out", "tiny.toml"],
        ["tiny.toml is a file", "folder"],
    ),
    "compare into no user": (["compare", "whole", "other", "--out", NO_USER], ["no-such-user"]),
    "compare three epochs": (["compare", "whole", "other", "--epoch", "1:2:3"], ["X:Y"]),
    "compare half an epoch": (["compare", "whole", "other", "--epoch", "0.5"], ["'0.5'"]),
    "compare no epoch": (["compare", "whole", "other", "--epoch", ""], ["--epoch ''"]),
    "compare a negative epoch": (["compare", "whole", "other", "--epoch=-1"], ["'-1'"]),
    "compare an epoch of thousands of digits": (
        ["compare", "whole", "other", "--epoch", DIGITS],
        ["…", "recorded epoch"],
    ),
    "compare half a layer": (["compare", "whole", "other", "--layer", "stem:"], ["X:Y"]),
}
# What is no run, given to every command that reads one.
NO_RUNS = {
    "missing": ("none", ["No folder none", "repdyn run"]),
    "empty name": ("", ["no records"]),
    "empty": ("empty", ["empty holds no records"]),
    "file": ("tiny.toml", ["No folder tiny.toml"]),
    "device": ("/dev/zero", ["No folder /dev/zero"]),
    "root": ("/", ["/ holds no records"]),
    "loop": ("loop", ["loop"]),
    "NUL": ("a\0b", ["null byte"]),
    "long": (LONG, ["name too long", "…"]),
    "long path": ("x/" * 5000, ["name too long", "…"]),
    "escape": (ESCAPE, ["\\x1b"]),
    "not UTF-8": (NOT_UTF8, ["\\udcff"]),
    "line break": ("a\nrepdyn: all is well", ["\\n"]),
}


@pytest.mark.parametrize("case", ANY_COMMAND)
def test_a_command_line_that_is_none_is_refused(place, case):
    refused(place, *ANY_COMMAND[case])


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("command", KEYED)
def test_a_bad_setting_is_refused_by_every_command_that_takes_one(place, command, case):
    arguments, words = SETTINGS[case]
    refused(place, [*KEYED[command], *arguments], words)


@pytest.mark.parametrize("case", VALUES)
def test_a_network_or_data_set_that_cannot_be_had_is_refused(place, case):
    refused(place, *VALUES[case])


@pytest.mark.parametrize("case", PATHS)
def test_a_place_that_cannot_be_used_is_refused(place, case):
    refused(place, *PATHS[case])


@pytest.mark.parametrize("case", NO_RUNS)
@pytest.mark.parametrize("command", ["analyze", "report", "doctor", "compare"])
def test_what_is_no_run_is_refused_by_every_command_that_reads_one(place, command, case):
    path, words = NO_RUNS[case]
    other = ["whole"] if command == "compare" else []
    refused(place, [command, path, *other], words)


def test_every_command_is_among_the_cases():
    cases = [*ANY_COMMAND.values(), *VALUES.values(), *PATHS.values()]
    assert {arguments[0] for arguments, _ in cases} >= set(COMMANDS)


def test_a_good_command_is_not_refused(place):
    """The check can fail, and what the bad commands are made from is good by itself."""
    for arguments in (["layers", "mine.keras"], ["layers", "own:build"], ["doctor"]):
        with pytest.raises(AssertionError, match="code 0"):
            refused(place, arguments)
    with pytest.raises(AssertionError, match="bad input was trained"):
        refused(place, ["run", "tiny.toml", "--model", "own:build", "--set", "planes=0"])


# Configuration files, by hand.

FILES = {
    "no TOML": (b"epochs: 3\n", ["not valid TOML", "line 1"]),
    "a value is missing": (b"epochs =\n", ["not valid TOML"]),
    "a key is missing": (b"= 3\n", ["not valid TOML"]),
    "a key twice": (b"epochs = 3\nepochs = 4\n", ["not valid TOML"]),
    "an open string": (b'model = "resnet\n', ["not valid TOML"]),
    "an open list": (b"blocks = [1, 2\n", ["not valid TOML"]),
    "an open table": (b"[run\nepochs = 3\n", ["not valid TOML"]),
    "an unknown escape": (b'model = "\\q"\n', ["not valid TOML"]),
    "a surrogate": (b'model = "\\ud800"\n', ["not valid TOML"]),
    "a NUL": (b"epochs\0 = 3\n", ["not valid TOML"]),
    "NULs alone": (b"\0" * 100, ["not valid TOML"]),
    "a lone carriage return": (b"epochs = 3\rseed = 4", ["not valid TOML"]),
    "a byte order mark": (b"\xef\xbb\xbfepochs = 3\n", ["not valid TOML"]),
    "UTF-16": ("epochs = 3\n".encode("utf-16"), ["not UTF-8"]),
    "Latin-1": ('model = "é"\n'.encode("latin-1"), ["not UTF-8"]),
    "an image": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["not UTF-8"]),
    "JSON": (b'{"epochs": 3}\n', ["not valid TOML"]),
    "YAML": (b"model: resnet\nblocks:\n  - 1\n", ["not valid TOML"]),
    "tables without end": (b"x = " + b"[" * 100_000, ["not valid TOML"]),
    "a number of thousands of digits": (f"seed = {DIGITS}\n".encode(), ["digits"]),
    "a megabyte and more": (b"# x\n" * 300_000, ["1048576 bytes"]),
    "an unknown key": (b"epohcs = 3\n", ["epohcs", "epochs", "bad.toml"]),
    "an empty key": (b'"" = 3\n', ["Unknown key ''"]),
    "a long key": (f"{LONG} = 3\n".encode(), ["Unknown key", "…", "--keys"]),
    "a key with an escape": (b'"\\u001b[2J" = 3\n', ["\\x1b[2J"]),
    "a key that turns letters": ('"\u202eshcope" = 3\n'.encode(), ["\\u202e"]),
    "a table": (b"[run]\nepochs = 3\n", ["Unknown key 'run'"]),
    "a table for a number": (b"[epochs]\nvalue = 3\n", ["epochs", "whole number"]),
    "tables for a list": (b"[[blocks]]\nvalue = 3\n", ["blocks", "whole numbers"]),
    "text for a number": (b'epochs = "3"\n', ["epochs = '3'", "whole number"]),
    "a truth for a number": (b"seed = true\n", ["seed = True", "whole number"]),
    "a date for a number": (b"epochs = 2020-01-01\n", ["epochs", "whole number"]),
    "a date for text": (b"model = 2020-01-01\n", ["model", "Expected text"]),
    "a number for text": (b"dataset = 3\n", ["dataset = 3", "Expected text"]),
    "a number for a truth": (b"augment = 1\n", ["augment = 1", "true or false"]),
    "text for a truth": (b'augment = "true"\n', ["augment", "true or false"]),
    "text for a list": (b'blocks = "1,1"\n', ["blocks = '1,1'", "list"]),
    "a list of texts": (b'blocks = ["1"]\n', ["blocks", "list of whole numbers"]),
    "a list of lists": (b"blocks = [[1]]\n", ["blocks", "list of whole numbers"]),
    "a list of truths": (b"blocks = [true]\n", ["blocks", "list of whole numbers"]),
    "a long list of texts": (b'blocks = ["x"' + b', "x"' * 5000 + b"]\n", ["…", "whole numbers"]),
    "a list of huge numbers": (b"blocks = [0x" + b"f" * 5000 + b"]\n", ["blocks", "out of range"]),
    "a huge number in a list for text": (b"layers = [0x" + b"f" * 5000 + b"]\n", ["layers"]),
    "a huge number": (b"seed = 0x" + b"f" * 5000 + b"\n", ["seed", "9223372036854775807"]),
    "a huge float": (b"epochs = 1e300\n", ["epochs", "9223372036854775807"]),
    "no number": (b"label_noise = nan\n", ["label_noise = nan", "finite"]),
    "an infinite number": (b"learning_rate = inf\n", ["learning_rate = inf", "finite"]),
    "a negative number": (b"epochs = -3\n", ["epochs = -3", "at least 1"]),
    "an unknown network": (b'model = "resnet50"\n', ["resnet50", "resnet"]),
    "a network with a NUL": (b'model = "a\\u0000.keras"\n', ["model", "NUL"]),
    "data with a NUL": (b'dataset = "npz:a\\u0000b"\n', ["dataset", "NUL"]),
    "data with an escape": (b'dataset = "npz:\\u001b[2J"\n', ["\\x1b[2J"]),
    "data of no user": (f'dataset = "folder:{NO_USER}"\n'.encode(), ["no-such-user", "home"]),
    "data above": (b'dataset = "folder:../../x"\n', ["upwards", "--set"]),
    "code to run": (b'model = "own:ends"\n', ["names code to run", "--model own:ends"]),
    "long text": (f'optimizer = "{LONG}"\n'.encode(), ["optimizer", "…", "sgd"]),
    "an expression nested deeply": (f'layers = "{"(" * 9000}"\n'.encode(), ["regular expression"]),
}


@pytest.fixture
def bad_file(place):
    """Writes `bad.toml`, which the test's end removes."""
    path = place / "bad.toml"
    yield path.write_bytes
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("case", FILES)
def test_a_bad_configuration_file_is_refused(place, bad_file, case):
    content, words = FILES[case]
    bad_file(content)
    refused(place, ["run", "bad.toml", "--out", "new"], words)


# Generated.

generated = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Text of all kinds, and what terminals, paths and parsers trip over.
WILD = st.text(max_size=40) | st.builds(
    "{}{}{}".format,
    st.text(max_size=5),
    st.sampled_from([ESCAPE, TURNED, NOT_UTF8, "\0", "\n", "\r", "\u2028", "[red]", "%s", "{0}"]),
    st.text(max_size=5) | st.just(LONG),
)
KEYED_COMMANDS = st.sampled_from(list(KEYED.values()))
NUMBERS = [
    name for name in KEYS if TYPES[name] in (int, float, int | None, float | None, tuple[int, ...])
]
NAMES = ("backend", "optimizer", "schedule", "stem", "batch_norm", "model", "dataset")
UNSET = ("", "none", "null")


@given(KEYED_COMMANDS, WILD, WILD)
@generated
def test_any_unknown_key_is_refused(place, command, key, value):
    assume("=" not in key and key.strip() not in KEYS)
    refused(place, [*command, "--set", f"{key}={value}"], ["Unknown key"])


@given(KEYED_COMMANDS, st.sampled_from(NUMBERS), WILD)
@generated
def test_any_text_that_is_no_number_is_refused(place, command, key, value):
    assume(value.strip().lower() not in UNSET and not any(c.isnumeric() for c in value))
    refused(place, [*command, "--set", f"{key}={value}"], [key, "Expected"])


@given(KEYED_COMMANDS, st.sampled_from(NAMES), WILD)
@generated
def test_any_name_of_nothing_is_refused(place, command, key, value):
    assume(value.strip().lower() not in UNSET)
    assume(not value.strip().endswith(".keras") and ":" not in value)
    assume(value.strip() not in ("digits", "synthetic", *(KEYS[key].metadata["choices"] or ())))
    refused(place, [*command, "--set", f"{key}={value}"], [key])


@given(
    KEYED_COMMANDS,
    st.sampled_from([name for name in NUMBERS if KEYS[name].metadata["low"] is not None]),
    st.integers(1, 10**30) | st.floats(0.1, 1e308) | st.sampled_from([DIGITS, "9" * 400, "1e999"]),
    st.booleans(),
)
@generated
def test_any_number_out_of_range_is_refused(place, command, key, past, is_above):
    bounds = KEYS[key].metadata
    above = bounds["high"] or bounds["below"] or 2**63
    if isinstance(past, str):
        number = past if is_above else f"-{past}"
    else:
        # Whole numbers go up to those of TOML, and others without end where no bound is named.
        assume(not is_above or bounds["high"] or bounds["below"] or TYPES[key] is not float)
        number = str(above + past if is_above else bounds["low"] - past)
    refused(place, [*command, "--set", f"{key}={number}"], [key])


@given(st.binary(max_size=60) | WILD.map(lambda text: text.encode("utf-8", "surrogateescape")))
@generated
def test_any_bytes_that_are_no_configuration_are_refused(place, content):
    try:
        assume(tomllib.loads(content.decode()) != {})
    except ValueError:
        pass
    path = place / "bad.toml"
    path.write_bytes(content)
    try:
        refused(place, ["run", "bad.toml"], ["bad.toml"])
    finally:
        path.unlink()


LEAVES = st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text() | st.dates()
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(
    st.sampled_from(list(KEYS)),
    st.lists(TREES.filter(lambda v: not isinstance(v, int)), min_size=1, max_size=4)
    | st.dictionaries(st.text(max_size=8), TREES, max_size=4)
    | st.datetimes()
    | st.just([]),
)
@generated
def test_any_value_of_the_wrong_type_is_refused(place, key, value):
    path = place / "bad.toml"
    path.write_text(tomli_w.dumps({key: value}), encoding="utf-8")
    try:
        refused(place, ["run", "bad.toml"], [f"{key} = ", "Expected"])
    finally:
        path.unlink()


@given(st.sampled_from(COMMANDS), st.text(string.ascii_letters + "-_é漢\u200b", min_size=1), WILD)
@generated
def test_any_unknown_option_is_refused(place, command, name, value):
    known = {"help", *(key.replace("_", "-") for key in KEYS)}
    known |= {"out", "like", "set", "layer", "epoch", "repair", "resume", "dry-run", "quiet"}
    assume(name not in known | {"keys"} and not name.startswith("-"))
    refused(place, [command, f"--{name}", value], [])


@given(st.sampled_from(["analyze", "report", "doctor", "compare", "record"]), WILD)
@generated
def test_any_path_of_nothing_is_refused(place, command, path):
    assume(path not in ("whole", "other"))
    other = ["whole"] if command == "compare" else []
    refused(place, [command, "--", path, *other], [])


@given(WILD)
@generated
def test_any_unknown_command_is_refused(place, command):
    assume(command not in COMMANDS and not command.startswith("-"))
    refused(place, [command, "whole"], ["No such command"])


# Real commands.

PROCESSES = {
    "unknown command": (["reprot"], {}, ["reprot", "report"]),
    "unknown option with an escape": (["analyze", "--\x1b[2J"], {}, ["\\x1b[2J"]),
    "long value": (["run", "--set", f"epochs={'x' * 100_000}"], {}, ["…", "whole number"]),
    "number of many digits": (["run", "--set", f"blocks={DIGITS}"], {}, ["whole numbers"]),
    "path that is not UTF-8": (["run", NOT_UTF8], {}, ["\\udcff", "TOML"]),
    "configuration without an end": (["run", "/dev/zero"], {}, ["1048576 bytes"]),
    "backend of the environment": (["run"], {"KERAS_BACKEND": "mxnet"}, ["mxnet", "jax"]),
    "expression with a warning": (["run", "--set", "layers=[[a]("], {}, ["regular expression"]),
    "home of no user": (["record", NO_USER], {}, ["no-such-user"]),
    "ASCII alone": (["doctor", "né\u202e"], {"PYTHONIOENCODING": "ascii"}, ["n\\xe9\\u202e"]),
}


@pytest.mark.parametrize("case", PROCESSES)
def test_the_command_itself_refuses(place, case):
    arguments, environment, words = PROCESSES[case]
    before = written(place)
    command = [Path(sys.executable).with_name("repdyn"), *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert_refused(result.returncode, result.stdout, result.stderr, words)
    assert written(place) == before


# What the messages are made of.


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("résumé", "'résumé'"),
        ("\x1b\u202e", "'\\x1b\\u202e'"),
        (3.5, "3.5"),
        ([1, "a"], "[1, 'a']"),
        pytest.param(16**5000, "a number of thousands of digits", id="huge"),
        pytest.param([16**5000], "a number of thousands of digits", id="huge in a list"),
    ],
)
def test_a_value_is_quoted_as_it_came(value, shown):
    assert quoted(value) == shown


def test_a_long_value_is_quoted_by_its_ends():
    shown = quoted("a" + "x" * 10**6 + "b")
    assert len(shown) == 80
    assert shown.startswith("'axxx") and shown.endswith("xxxb'")
    assert "…" in shown


def test_lists_in_lists_without_end_are_quoted():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    assert quoted(nested) == "a list of many in each other"


def test_no_backend_changed():
    """The commands ran on the backend that the tests run on."""
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"]
