"""A run in words: what a key may hold, what is said of anything else, and which setting wins."""

import dataclasses
import tomllib

import pytest

from repdyn_keras.cli.collect import collect
from repdyn_keras.config import (
    Config,
    describe_keys,
    load_config,
    parse_value,
    resolve,
    to_toml,
)
from repdyn_keras.config.keys import check
from repdyn_keras.errors import InputError, nearest, not_installed, unknown

pytestmark = pytest.mark.without_keras

KEYS = [spec.name for spec in dataclasses.fields(Config)]


def written(folder, text, encoding="utf-8"):
    path = folder / "run.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def message(call, *args, **kwargs):
    """What the user is told."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    return str(caught.value)


# --- values -----------------------------------------------------------------------------------


def test_defaults_are_valid_and_a_configuration_is_frozen():
    config = Config()
    assert (config.backend, config.dataset, config.model, config.optimizer) == (
        "jax",
        "digits",
        "resnet",
        "sgd",
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 3
    assert hash(config) == hash(Config())
    assert config == Config()
    assert config != Config(seed=1)


def test_keys_are_named_never_positional():
    with pytest.raises(TypeError):
        Config("jax")


@pytest.mark.parametrize(
    "name, value, held",
    [
        ("epochs", 40, 40),
        ("epochs", 40.0, 40),
        ("epochs", None, None),
        ("label_noise", 0, 0.0),
        ("label_noise", 0.999, 0.999),
        ("learning_rate", 1, 1.0),
        ("blocks", [1, 1], (1, 1)),
        ("blocks", (3,), (3,)),
        ("record_epochs", "log", "log"),
        ("record_epochs", [0, 1, 5], (0, 1, 5)),
        ("record_epochs", range(0, 6, 2), (0, 2, 4)),
        ("pooling", "flatten", "flatten"),
        ("pooling", 2, 2),
        ("layers", "stage4.*", "stage4.*"),
        ("layers", None, None),
        ("dataset", "npz:some dir/my.npz", "npz:some dir/my.npz"),
        ("planes", 0, 0),
        ("keep_weights", True, True),
    ],
)
def test_valid_values_are_held_in_the_keys_type(name, value, held):
    found = getattr(Config(**{name: value}), name)
    assert found == held
    assert type(found) is type(held)


def test_a_list_that_was_given_is_not_kept_by_reference():
    blocks = [1, 2]
    config = Config(blocks=blocks)
    blocks.append(3)
    assert config.blocks == (1, 2)


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("epochs", 2.5, "a whole number"),
        ("epochs", "ten", "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", [1], "a whole number"),
        ("seed", None, "a whole number"),
        ("label_noise", "0.2", "a number"),
        ("label_noise", None, "a number"),
        ("label_noise", False, "a number"),
        ("augment", 1, "true or false"),
        ("augment", "yes", "true or false"),
        ("augment", None, "true or false"),
        ("dataset", 3, "text"),
        ("layers", 4, "text"),
        ("blocks", 3, "a list of whole numbers"),
        ("blocks", [], "a list of whole numbers"),
        ("blocks", [1.5], "a list of whole numbers"),
        ("blocks", [1, True], "a list of whole numbers"),
        ("blocks", "1,1", "a list of whole numbers"),
        ("record_epochs", 3, "text or a list of whole numbers"),
        ("pooling", 2.5, "text or a whole number"),
        ("seed", {"a": 1}, "a whole number"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_in_words(name, value, words):
    said = message(Config, **{name: value})
    assert said.startswith(f"{name} = {value!r} is not valid.")
    assert f"Expected {words}." in said


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("epochs", 0, "at least 1"),
        ("epochs", -3, "at least 1"),
        ("label_noise", -0.01, "at least 0 and below 1"),
        ("label_noise", 1, "at least 0 and below 1"),
        ("momentum", 1.0, "at least 0 and below 1"),
        ("test_share", 0.0, "at least 0.01 and at most 0.9"),
        ("test_share", 0.95, "at least 0.01 and at most 0.9"),
        ("n_eval", 3, "at least 4"),
        ("cka_batch", 3, "at least 4"),
        ("resolution", 1, "at least 2"),
        ("planes", -1, "at least 0"),
        ("margin", -0.1, "at least 0"),
        ("seed", -1, "at least 0"),
        ("pooling", 0, "at least 1"),
        ("synthetic_classes", 1, "at least 2"),
    ],
)
def test_a_number_out_of_range_is_refused_with_its_range(name, value, words):
    said = message(Config, **{name: value})
    assert said.startswith(f"{name} = ")
    assert "out of range" in said
    assert words in said


@pytest.mark.parametrize("name, value", [("blocks", (2, 0)), ("record_epochs", (0, -1))])
def test_every_number_of_a_list_is_in_range(name, value):
    assert f"{name} = {min(value)} is out of range" in message(Config, **{name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["label_noise", "learning_rate", "margin", "weight_decay"])
def test_numbers_that_are_not_finite_are_refused(name, value):
    assert "Expected a finite number" in message(Config, **{name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_whole_numbers_that_are_not_finite_are_refused(value):
    assert "Expected a whole number" in message(Config, epochs=value)


@pytest.mark.parametrize("name", ["seed", "epochs", "label_noise"])
def test_numbers_beyond_every_float_are_refused(name):
    """TOML and `--set` can hold them: no OverflowError may come out."""
    assert name in message(Config, **{name: 10**400})


@pytest.mark.parametrize(
    "name, value, near",
    [
        ("backend", "tensorflw", "tensorflow"),
        ("backend", "JAX", "jax"),
        ("model", "resnet50", "resnet"),
        ("optimizer", "adamw", "adam"),
        ("schedule", "cosin", "cosine"),
        ("batch_norm", "recalibrated", "recalibrate"),
        ("dataset", "digit", "digits"),
        ("pooling", "men", "mean"),
        ("record_epochs", "logs", "log"),
    ],
)
def test_an_unknown_choice_is_refused_with_the_nearest(name, value, near):
    said = message(Config, **{name: value})
    assert f"Unknown {name} {value!r}" in said
    assert near in said.split(": ", 1)[1]


@pytest.mark.parametrize("value", ["", "xyz"])
def test_an_unknown_choice_that_is_near_to_none_is_told_all(value):
    said = message(Config, optimizer=value)
    assert "Valid: " in said
    assert "sgd" in said and "adam" in said


def test_a_dataset_file_without_a_name_is_refused():
    assert "npz:FILE" in message(Config, dataset="npz:")


@pytest.mark.parametrize("pattern", ["stage[", "(", "*block"])
def test_a_layer_pattern_that_is_none_is_refused(pattern):
    said = message(Config, layers=pattern)
    assert repr(pattern) in said
    assert "regular expression" in said


def test_an_unknown_key_is_refused_with_the_nearest_name():
    said = message(check, "learning_rte", 0.1)
    assert "Unknown key 'learning_rte'" in said
    assert "learning_rate" in said


# --- text -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("blocks", "1,1", (1, 1)),
        ("blocks", "1,1,1,1", (1, 1, 1, 1)),
        ("blocks", " 1, 2 ", (1, 2)),
        ("blocks", "[1, 2]", (1, 2)),
        ("blocks", "(1,2,)", (1, 2)),
        ("blocks", "3", (3,)),
        ("record_epochs", "log", "log"),
        ("record_epochs", "0,10,100", (0, 10, 100)),
        ("record_epochs", "7", (7,)),
        ("pooling", "mean", "mean"),
        ("pooling", "4", 4),
        ("epochs", "40", 40),
        ("epochs", "4e1", 40),
        ("epochs", "none", None),
        ("epochs", "", None),
        ("learning_rate", "1e-3", 1e-3),
        ("learning_rate", "1", 1.0),
        ("label_noise", " 0.25 ", 0.25),
        ("augment", "true", True),
        ("augment", "False", False),
        ("model", "vit", "vit"),
        ("layers", "block0[1-3]", "block0[1-3]"),
        ("layers", "None", None),
        ("dataset", "npz:a=b.npz", "npz:a=b.npz"),
    ],
)
def test_text_after_set_is_read_as_the_keys_type(name, text, value):
    found = parse_value(name, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("blocks", "1,a", "a list of whole numbers"),
        ("blocks", "1,,2", "a list of whole numbers"),
        ("blocks", "1.5,2", "a list of whole numbers"),
        ("blocks", "1,0", "at least 1"),
        ("record_epochs", "-1,4", "at least 0"),
        ("epochs", "ten", "a whole number"),
        ("epochs", "2.5", "a whole number"),
        ("epochs", "nan", "a whole number"),
        ("epochs", "0", "at least 1"),
        ("seed", "none", "a whole number"),
        ("label_noise", "nan", "a finite number"),
        ("label_noise", "a lot", "a number"),
        ("learning_rate", "inf", "a finite number"),
        ("augment", "maybe", "true or false"),
        ("augment", "1", "true or false"),
        ("model", "resnt", "resnet"),
    ],
)
def test_text_that_fits_no_type_is_refused(name, text, words):
    said = message(parse_value, name, text)
    assert name in said
    assert words in said


@pytest.mark.parametrize("name", ["epoch", "Epochs", "epoch s"])
def test_text_for_an_unknown_key_names_the_nearest(name):
    assert "epochs" in message(parse_value, name, "3")


@pytest.mark.parametrize("digits", [400, 5000])
def test_a_number_of_very_many_digits_is_refused(digits):
    assert "seed" in message(parse_value, "seed", "1" * digits)


# --- files ------------------------------------------------------------------------------------


def test_a_file_gives_the_keys_that_it_sets(tmp_path):
    path = written(tmp_path, 'model = "vit"\nepochs = 4\nblocks = [1, 1]\nlabel_noise = 0\n')
    found = load_config(path)
    assert found == {"model": "vit", "epochs": 4, "blocks": (1, 1), "label_noise": 0.0}
    assert type(found["label_noise"]) is float
    assert load_config(str(path)) == found


def test_an_empty_file_sets_nothing(tmp_path):
    assert load_config(written(tmp_path, "# nothing\n")) == {}


def test_the_versions_of_a_run_are_not_keys(tmp_path):
    assert load_config(written(tmp_path, 'seed = 3\n[versions]\nkeras = "3"\n')) == {"seed": 3}


CHANGED = [
    Config(),
    Config(
        backend="torch",
        dataset='npz:some "odd" \\ näme.npz',
        model="vit",
        optimizer="adam",
        epochs=7,
        label_noise=0.1,
        seed=2**53 + 1,
        augment=True,
        blocks=(1, 2, 3),
        learning_rate=1e-17,
        schedule="cosine",
        record_epochs=(0, 3, 7),
        layers="block0[1-3]|stem\\d",
        pooling=3,
        margin=1 / 3,
    ),
    resolve(Config(model="vit")),
    Config(pooling="flatten", momentum=0.1 + 0.2),
]


@pytest.mark.parametrize("config", CHANGED)
def test_a_configuration_survives_its_file(tmp_path, config):
    path = written(tmp_path, to_toml(config, {"keras": "3.15", "repdyn-keras": "0.1"}))
    assert Config(**load_config(path)) == config


def test_a_written_file_names_every_key_that_is_set_and_the_versions():
    values = tomllib.loads(to_toml(resolve(Config()), {"keras": "3.15"}))
    assert values.pop("versions") == {"keras": "3.15"}
    config = resolve(Config())
    assert set(values) == {key for key in KEYS if getattr(config, key) is not None}


def test_an_unknown_key_in_a_file_names_the_file_and_the_nearest(tmp_path):
    path = written(tmp_path, "epoch = 4\n")
    said = message(load_config, path)
    assert "Unknown key 'epoch'" in said
    assert "epochs" in said
    assert str(path) in said


@pytest.mark.parametrize(
    "text, words",
    [
        ("epochs = 0", "epochs = 0 is out of range"),
        ("epochs = 2.5", "Expected a whole number"),
        ('epochs = "4"', "Expected a whole number"),
        ("label_noise = nan", "finite"),
        ("margin = inf", "finite"),
        ("blocks = 3", "a list of whole numbers"),
        ("blocks = []", "a list of whole numbers"),
        ("augment = 1", "true or false"),
        ("seed = 1979-05-27", "a whole number"),
        ('model = "alexnet"', "Unknown model 'alexnet'.*resnet"),
        ("[model]\nwidth = 3", "Unknown key|model = "),
        ("[training]\nepochs = 3", "Unknown key 'training'"),
    ],
)
def test_bad_values_of_a_file_are_refused(tmp_path, text, words):
    with pytest.raises(InputError, match=words):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize(
    "text", ["epochs 4", "epochs = ", "epochs = 4\nepochs = 5", "[unclosed", 'model = "vit', "= 3"]
)
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path, text):
    path = written(tmp_path, text)
    said = message(load_config, path)
    assert str(path) in said
    assert "not valid TOML" in said


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", 'model = "vit" # naïve'.encode("latin-1")])
def test_a_file_that_is_not_utf8_is_refused_by_name(tmp_path, content):
    path = written(tmp_path, content)
    said = message(load_config, path)
    assert str(path) in said
    assert "not UTF-8" in said


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        said = message(load_config, path)
        assert str(path) in said
        assert "Cannot read" in said


# --- precedence -------------------------------------------------------------------------------


@pytest.fixture
def no_backend(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)


@pytest.mark.usefixtures("no_backend")
def test_options_win_over_set_over_the_file_over_defaults(tmp_path):
    file = load_config(written(tmp_path, 'seed = 1\nepochs = 11\nmodel = "vit"\n'))
    found = collect(file, {"seed": "3", "epochs": None}, ["seed=2", "epochs=12"])
    assert found == {"seed": 3, "epochs": 12, "model": "vit"}
    config = Config(**found)
    assert (config.seed, config.epochs, config.model, config.optimizer) == (3, 12, "vit", "sgd")


@pytest.mark.parametrize(
    "option, pairs, file, expected",
    [
        (None, [], "", "torch"),
        (None, [], 'backend = "tensorflow"', "tensorflow"),
        (None, ["backend=jax"], 'backend = "tensorflow"', "jax"),
        ("tensorflow", ["backend=jax"], 'backend = "torch"', "tensorflow"),
    ],
)
def test_the_environment_decides_the_backend_where_nothing_else_does(
    tmp_path, monkeypatch, option, pairs, file, expected
):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    found = collect(load_config(written(tmp_path, file)), {"backend": option}, pairs)
    assert found["backend"] == expected


@pytest.mark.usefixtures("no_backend")
def test_nothing_set_is_nothing_collected():
    assert collect({}, {"epochs": None, "seed": None}, []) == {}


@pytest.mark.usefixtures("no_backend")
def test_a_later_set_wins_and_may_hold_an_equals_sign():
    found = collect({}, {}, ["seed=1", "seed = 5", "dataset=npz:a=b.npz"])
    assert found == {"seed": 5, "dataset": "npz:a=b.npz"}


@pytest.mark.parametrize("pair", ["epochs", "", "epochs:3"])
def test_a_set_without_a_value_is_refused(pair):
    assert "key=value" in message(collect, {}, {}, [pair])


@pytest.mark.parametrize("model", ["resnet", "vit"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_presets_fill_what_was_left_open(model, optimizer):
    config = Config(model=model, optimizer=optimizer)
    filled = resolve(config)
    for name in ("epochs", "width", "learning_rate", "schedule", "batch_size"):
        assert getattr(config, name) is None
        assert getattr(filled, name) is not None
    if model == "vit":
        assert None not in (filled.patch, filled.depth, filled.heads)
    for name in KEYS:
        if getattr(config, name) is not None:
            assert getattr(filled, name) == getattr(config, name)


def test_presets_never_replace_what_was_set():
    chosen = {"epochs": 3, "width": 5, "learning_rate": 0.0, "schedule": "cosine", "batch_size": 7}
    filled = resolve(Config(**chosen))
    assert {name: getattr(filled, name) for name in chosen} == chosen


def test_resolving_twice_changes_nothing_more():
    once = resolve(Config(model="vit", optimizer="adam"))
    assert resolve(once) == once


# --- words ------------------------------------------------------------------------------------


def test_every_key_is_described_with_its_default():
    rows = describe_keys()
    assert [name for name, _, _ in rows] == KEYS
    table = {name: (default, words) for name, default, words in rows}
    assert table["epochs"][0] == "(preset)"
    assert table["data_seed"][0] == "(seed)"
    assert table["label_noise"][0] == "0.2"
    assert table["layers"][0] == "(every block)"
    assert "jax, tensorflow, torch" in table["backend"][1]
    assert all(words.strip() for _, _, words in rows)


@pytest.mark.parametrize("name", KEYS)
def test_a_described_default_is_what_set_reads_back(name):
    default = {row[0]: row[1] for row in describe_keys()}[name]
    if default.startswith("("):
        assert getattr(Config(), name) is None
    else:
        assert parse_value(name, default) == getattr(Config(), name)


@pytest.mark.parametrize(
    "name, valid, expected",
    [
        ("learning_rte", ["epochs", "learning_rate", "seed"], ["learning_rate"]),
        ("EPOCHS", ["epochs", "seed"], ["epochs"]),
        ("rate", ["learning_rate", "seed"], ["learning_rate"]),
        ("zzz", ["a", "b", "c"], ["a", "b", "c"]),
        ("", ["a", "b"], ["a", "b"]),
        ("x", [str(i) for i in range(20)], [str(i) for i in range(8)]),
    ],
)
def test_nearest_names(name, valid, expected):
    assert nearest(name, valid) == expected


def test_an_unknown_name_among_many_says_how_many_there_are():
    said = str(unknown("layer", "stge", [f"stage{i}" for i in range(12)], "Look again."))
    assert "Unknown layer 'stge'" in said
    assert "Nearest: stage" in said
    assert "12 in all" in said
    assert said.endswith("Look again.")


def test_a_missing_package_names_the_extra_that_brings_it():
    error = not_installed("torch", {"torch": "torch"}, "backend = 'torch'")
    assert isinstance(error, ValueError)
    assert "backend = 'torch' needs the package 'torch'" in str(error)
    assert "pip install 'repdyn-keras[torch]'" in str(error)


def test_a_missing_package_of_the_core_is_named_without_an_extra():
    said = str(not_installed("jax", {"torch": "torch"}, "backend = 'jax'"))
    assert said.endswith("pip install jax")
