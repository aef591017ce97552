"""Invalid command lines and input files: exit code 2, one short message, nothing written.

test_config.py tests keys, configuration files and paths.
"""

import os
import sys
import unicodedata
from pathlib import Path

import keras
import pytest
from helpers import BACKEND, assert_rejected, contents, repdyn, small_model, write_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repdyn_keras.text import HIDDEN_CATEGORIES

pytestmark = pytest.mark.one_backend

# Placeholders in the command lines below.
ODD = {
    "LONG": "x" * 10_000,
    "ESCAPE": "\x1b]8;;http://example.com\x1b\\\x1b[2Jhere\x07",
    "BYTES": os.fsdecode(b"\xff\xfe"),
    "DIGITS": "9" * 5000,
    "NUL": "a\0b",
    "STAGES": "1," * 3000 + "1",
    "BREAK": "a\nrepdyn: all is well",
    "EMPTY": "",
}
OTHER = "torch" if BACKEND != "torch" else "jax"
LONGEST = 1100

OWN_CODE = """
import sys
from keras import Input, Sequential, layers
def build(image_shape, n_classes, names=("one", "two", "three")):
    dense = lambda name: layers.Dense(n_classes, kernel_initializer="zeros", name=name)
    return Sequential([Input(image_shape), layers.Flatten(), *map(dense, names)])
def inner(image_shape, n_classes):
    return build(image_shape, n_classes, ("one", "output", "last"))
def pixels(image_shape):
    return Sequential([Input(image_shape), layers.Dense(1, name="pixels")])
def fails(image_shape):
    raise TypeError("first line\\nsecond line \\x1b[31m")
def ends():
    sys.exit(0)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with valid and invalid input files, which no command may change."""
    path = tmp_path_factory.mktemp("place")
    for name in ("empty", "taken"):
        (path / name).mkdir()
    for name, text in {
        "tiny.toml": 'dataset = "synthetic"\nsynthetic_train = 32\n',
        "bad.toml": "epohcs = 3\n",
        "code.toml": 'model = "own:ends"\n',
        "above.toml": 'dataset = "folder:../../x"\n',
        "taken/notes.txt": "mine",
        "half.npz": "PK\x03\x04half",
        "half.keras": "PK\x03\x04half",
        "own.py": OWN_CODE,
        "broken.py": "def build(:\n",
    }.items():
        (path / name).write_text(text, encoding="utf-8")
    (path / "loop").symlink_to("loop")
    small_model().save(path / "mine.keras")
    write_run(path / "whole", epochs=(0, 1))
    write_run(path / "other", epochs=(0, 1), layers=("stem", "output"))
    damaged = write_run(path / "damaged", epochs=(0, 1))
    damaged.record_file(1).write_bytes(b"half")
    damaged.config_file.write_bytes(b'model = "\xff"\n')
    return path


@pytest.fixture(scope="module")
def expect_rejection(place):
    """A function that runs a command and checks that it fails with one line."""
    before = contents(place)

    def call(arguments, words=()):
        result = repdyn(*arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"{arguments}") from result.exception
        assert_rejected(result, words)
        assert result.stdout == "" and len(result.stderr) < LONGEST, result.stderr
        hidden = [c for c in result.stderr[:-1] if unicodedata.category(c) in HIDDEN_CATEGORIES]
        assert not hidden, ascii(result.stderr)
        assert contents(place) == before, arguments

    return call


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    """Changes to the folder, and fails the test if a training starts."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def trained(*args, **kwargs):
        raise AssertionError("bad input was trained")

    monkeypatch.setattr("repdyn_keras.experiment.training.Training.fit", trained)


# A command line, and after each bar a part of its message.
COMMAND_LINES = """
rnu | 'rnu' | run | --help
EMPTY | --help
ESCAPE | \\x1b
LONG | … | --help
BYTES | \\udcff
--epochs 3 | --epochs
run --epoch 3 | --epoch | --epochs
run --epochs | --epochs
run --quiet=yes | --quiet | value
run tiny.toml tiny.toml | extra argument
compare whole | study.toml
doctor --repair | --repair without one
"""
NETWORKS_AND_IMAGES = """
run --model EMPTY | Unknown model | Received: '' | resnet
layers empty | Unknown model | 'empty' | FILE.keras
layers none.keras | No file none.keras | model.save
layers half.keras | half.keras | model.save
layers mine.keras --output LONG | … | dense3
layers mine.keras --set preset=vit-s16 | preset | Expected no preset
layers broken:build | SyntaxError | Expected
layers own:build --set layers=nothing | 'nothing' | one, two
layers own:inner | a layer of | 'output' | Rename
layers own:fails | TypeError | \\n | \\x1b | line
layers own:ends | SystemExit | keras.Model
layers resnet --set width=100000 | memory | GB
layers resnet --set blocks=STAGES | 3001 numbers | memory | smaller width or blocks
layers vit --set depth=1000 --set width=100000 | memory | smaller width or depth
run --dataset LONG | … | digits
run --dataset npz:half.npz | half.npz | numpy.savez
run --dataset folder:none | none, which does not exist
run --dataset idx:none | does not exist | train-images-idx3-ubyte
run --dataset tfds:../x | tfds:NAME
run tiny.toml --model own:pixels --dry-run | one number per class | 16 x 16 x 1
run --dataset synthetic --set synthetic_train=1000000000 | memory | smaller synthetic_train
"""
PLACES = """
run EMPTY | folder | TOML
run /dev/zero | /dev/zero | 1048576 bytes
run bad.toml | Unknown key | 'epohcs' | epochs | bad.toml
run code.toml | names code to run | --model own:ends
run above.toml | parent folder | --set
run tiny.toml --out taken | taken exists | --out | --resume
run tiny.toml --model own:build --out tiny.toml/new | tiny.toml/new | --out DIR
run tiny.toml --out LONG | name too long | …
run --resume | Received: nothing | repdyn run RUN --resume
run tiny.toml --resume | tiny.toml, which is not a folder | --out RUN
record none | Received: none, which is not a folder | weights.h5
record taken | Received: no such file in taken
record empty --like whole | no run.toml
record empty --like damaged | UTF-8
analyze damaged | epoch-000001.nc
compare whole damaged | epoch-000001.nc
compare whole other --epoch 7 | epoch | 7 | whole
compare whole other --layer stm | layer | 'stm' | stem
compare whole other --out tiny.toml | the file tiny.toml | folder
compare whole other --epoch DIGITS | … | recorded epoch
compare whole other whole | whole more than once
compare whole other taken --epoch 0 | 3 runs | with two runs
"""
# SETTINGS for the commands that accept keys; NO_RUNS for the commands that read a run.
KEYED = ("run tiny.toml", "layers mine.keras", "record empty")
SETTINGS = """
--set widht=3 | Unknown key | 'widht' | width | --keys
--set width | 'width' | key=value
--set epochs=ESCAPE | \\x1b | whole number
--set label_noise=nan | label_noise = nan | finite
--set record_epochs=LONG | record_epochs | … | log
--set data_dir=BYTES | data_dir | Unicode
--set data_dir=LONG | name too long | …
--backend pytorch | pytorch | torch
"""
READING = ("analyze", "report", "figures", "doctor", "compare whole")
NO_RUNS = """
none | No folder none | repdyn run
EMPTY | no records
tiny.toml | No folder tiny.toml
NUL | null byte
LONG | name too long | …
BYTES | \\udcff
BREAK | \\n
"""


def cases(table: str, commands=("",)):
    """Arguments and parts of the message, for every command with every line of a table."""
    for line in table.strip().splitlines():
        arguments, *words = line.split(" | ")
        for command in commands:
            parts = f"{command} {arguments}".strip().split(" ")
            for name, text in ODD.items():
                parts = [part.replace(name, text) for part in parts]
            yield parts, words


@pytest.mark.parametrize("table", [COMMAND_LINES, NETWORKS_AND_IMAGES, PLACES], ids=range(3))
def test_invalid_command_lines_are_rejected(expect_rejection, table):
    for arguments, words in cases(table):
        expect_rejection(arguments, words)


def test_every_command_rejects_invalid_keys_and_folders(expect_rejection):
    for arguments, words in [*cases(SETTINGS, KEYED), *cases(NO_RUNS, READING)]:
        expect_rejection(arguments, words)
    for command in ("run tiny.toml", "layers resnet"):
        expect_rejection([*command.split(), "--backend", OTHER], [OTHER, BACKEND, "KERAS_BACKEND"])
    assert keras.backend.backend() == os.environ["KERAS_BACKEND"] == BACKEND


def test_valid_commands_are_accepted(expect_rejection, tmp_path):
    """The check can fail, and the remaining parts of the invalid commands are valid."""
    for command in ("layers mine.keras", "layers own:build", "doctor", "analyze --help"):
        with pytest.raises(AssertionError):
            expect_rejection(command.split())
    with pytest.raises(AssertionError) as caught:
        expect_rejection(
            f"run tiny.toml --model own:build --set planes=0 --out {tmp_path / 'new'}".split()
        )
    assert "bad input was trained" in str(caught.value.__cause__)


# --- generated commands -----------------------------------------------------------------------

RANDOM_TEXT = st.text(max_size=40) | st.builds(
    "{}{}{}".format,
    st.text(max_size=5),
    st.sampled_from([*ODD.values(), "\0", "\n", "\r", "\u2028", "[red]", "%s", "{0}"]),
    st.text(max_size=5),
)
# A word of the message, commands, and an invalid part: no command, option, key or value begins
# with `q`.
INVALID = [
    ("No such command", ("",), "q{}"),
    ("No such option", (*KEYED, *READING), "--q{}"),
    ("Unknown key", KEYED, "--set q{}=3"),
    ("whole number", KEYED, "--set epochs=q{}"),
    ("label_noise", KEYED, "--set label_noise=q{}"),
    ("optimizer", KEYED, "--set optimizer=q{}"),
    ("model", KEYED, "--set model=q{}"),
    ("dataset", KEYED, "--set dataset=q{}"),
    ("", (*READING, "record"), "-- {}"),
]


@pytest.mark.parametrize("count", [40, pytest.param(600, marks=pytest.mark.long)])
def test_generated_invalid_commands_are_rejected(expect_rejection, count):
    few = {"max_examples": count, "derandomize": True, "deadline": None, "database": None}

    @settings(**few, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(INVALID), st.data(), RANDOM_TEXT)
    def check_rejection(kind, data, text):
        word, commands, bad = kind
        parts = f"{data.draw(st.sampled_from(commands))} {bad}".split()
        expect_rejection([part.replace("{}", text) for part in parts], [word])

    check_rejection()
