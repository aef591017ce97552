"""The configuration: valid and invalid values of every key, and precedence."""

import dataclasses
import os
import re
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repdyn_keras.cli.options import collect
from repdyn_keras.config import require_memory, resolve, usable_path
from repdyn_keras.config.files import load_config, load_versions, to_toml
from repdyn_keras.config.key_table import describe_keys
from repdyn_keras.config.keys import KEYS, Config, check, parse_value
from repdyn_keras.errors import InputError, nearest, not_installed, unknown
from repdyn_keras.text import format_duration, quoted

pytestmark = pytest.mark.without_keras

LONG, DIGITS = "x" * 10_000, "9" * 5000
MAX_INTEGER = 2**63 - 1
NAN, INF = float("nan"), float("inf")
WHOLE, NUMBER, TRUTH = "a whole number", "a number", "true or false"
NUMBERS = "a list of whole numbers"


def written(folder, content):
    path = folder / "run.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message(call, *args, **kwargs):
    """The message of the InputError that a call raises; it is short."""
    with pytest.raises(InputError) as caught:
        found = call(*args, **kwargs)
        pytest.fail(f"{quoted((args, kwargs))} gave {quoted(found)}")
    assert len(str(caught.value)) < 500
    return str(caught.value)


def test_defaults_are_valid_and_a_configuration_is_frozen():
    config = Config(backend="jax", dataset="digits", model="resnet", optimizer="sgd")
    assert config == Config() != Config(seed=1)
    assert hash(config) == hash(Config())
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.epochs = 3
    with pytest.raises(TypeError):
        Config("jax")


def test_values_and_text_of_set_are_converted_to_the_type_of_the_key():
    for name, values in {
        "epochs": [("40", 40), ("4e1", 40), (40.0, 40), ("none", None), ("", None), (None, None)],
        "label_noise": [(0, 0.0), (0.999, 0.999), (" 0.25 ", 0.25)],
        "learning_rate": [("1e-3", 1e-3), ("1", 1.0)],
        "blocks": [("1,1", (1, 1)), (" [1, 2] ", (1, 2)), ("(1,2,)", (1, 2)), ("3", (3,))],
        "record_epochs": [("log", "log"), ("0,10", (0, 10)), ("7", (7,)), (range(3), (0, 1, 2))],
        "pooling": [("flatten", "flatten"), ("2", 2), (2, 2)],
        "augment": [("true", True), ("False", False), (True, True)],
        "dataset": [("npz:some dir/a=b.npz", "npz:some dir/a=b.npz")],
        "layers": [("[[a]", "[[a]"), ("None", None)],  # Python warns about the expression
    }.items():
        for value, expected in values:
            held = parse_value(name, value) if isinstance(value, str) else value
            found = getattr(Config(**{name: held}), name)
            assert (found, type(found)) == (expected, type(expected)), (name, value)
            assert not isinstance(value, str) or type(held) is type(expected)
    blocks = [1, 2]
    config = Config(blocks=blocks)
    blocks.append(3)
    assert config.blocks == (1, 2), "a list is copied"


def test_a_value_of_the_wrong_type_is_rejected():
    for name, values, words in (
        ("epochs", (2.5, "ten", True, [1], NAN, INF), WHOLE),
        ("seed", (None, {"a": 1}), WHOLE),
        ("label_noise", ("0.2", None, False), NUMBER),
        ("augment", (1, "yes", None), TRUTH),
        ("dataset", (3,), "text"),
        ("blocks", (3, [], [1.5], [1, True], "1,1", [[1]], ["1"]), NUMBERS),
        ("record_epochs", (3,), f"text or {NUMBERS}"),
        ("pooling", (2.5,), f"text or {WHOLE}"),
    ):
        for value in values:
            output = message(Config, **{name: value})
            expected = f"Expected {words}. Received: {name} = {value!r}."
            assert output == f"{name} has the wrong type. {expected}"


def test_a_number_outside_of_its_range_is_rejected():
    for name, good, bad, words in (
        ("epochs", (1, 10**6), (0, 10**6 + 1), "at least 1 and at most 1000000"),
        ("label_noise", (0, 0.99), (-0.01, 1.0, NAN, INF), "at least 0 and below 1"),
        ("test_share", (0.01, 0.9), (0.0, 0.95), "at least 0.01 and at most 0.9"),
        ("n_eval", (4,), (3,), "at least 4"),
        ("cka_batch", (4,), (3,), "at least 4"),
        ("probe_images", (3,), (2,), "at least 3"),
        ("resolution", (2, 1000), (1, 1001), "at least 2 and at most 1000"),
        ("planes", (0, 10_000), (-1, 10_001), "at least 0 and at most 10000"),
        ("margin", (0, 100), (-0.1, 1e308), "at least 0 and at most 100"),
        ("image_size", (1, 16_384), (2**62,), "at least 1 and at most 16384"),
        ("weight_decay", (0, 1e6), (1e308, INF), "at least 0 and at most 1000000.0"),
        ("seed", (0, MAX_INTEGER), (-1,), "at least 0"),
        ("pooling", (1,), (0,), "at least 1"),
        ("synthetic_classes", (2,), (1,), "at least 2 and at most 10000"),
    ):
        for value in good:
            assert getattr(Config(**{name: value}), name) == value
        for value in bad:
            output = message(Config, **{name: value})
            expected = f"Expected a finite number {words}. Received: {name} = {value}."
            assert output == f"{name} is out of range. {expected}"
    for name, values in (("blocks", (2, 0)), ("record_epochs", (0, -1))):
        output = message(Config, **{name: values})
        assert f"{name} is out of range" in output and f"Received: {name} = {values[1]}." in output
    for name in ("seed", "epochs", "label_noise"):
        for value in (2**63, 10**400, 1e300):
            assert name in message(Config, **{name: value})
    for value in (2**63, 16**5000):
        assert f"up to {MAX_INTEGER}" in message(Config, blocks=[1, value])


def test_an_unknown_name_is_rejected_with_the_nearest_names():
    for case in (
        "backend:tensorflw:tensorflow backend:JAX:jax model:resnet50:resnet optimizer:adamw:adam "
        "schedule:cosin:cosine stem:smal:small batch_norm:recalibrated:recalibrate "
        "dataset:digit:digits pooling:men:mean record_epochs:logs:log"
    ).split():
        name, value, near = case.split(":")
        output = message(Config, **{name: value})
        assert output.startswith(f"Unknown {name}. Expected ") and f"Received: {value!r}" in output
        assert near in output.split(": ")[1]
    for value in ("", "xyz"):
        assert "Expected one of: sgd, adam." in message(Config, optimizer=value), "similar to none"
    for call in (check, parse_value):
        for name in ("learning_rte", "Learning_rate", "learning_rate s"):
            output = message(call, name, "0.1")
            assert re.match(rf"Unknown key. .*nearest: learning_rate.*Received: {name!r}", output)


def test_text_that_cannot_be_converted_is_rejected():
    for name, texts, words in (
        ("blocks", ("1,a", "1,,2", "1.5,2", ",", "[]"), NUMBERS),
        ("blocks", ("1,0",), "at least 1"),
        ("blocks", (DIGITS, f"1,{DIGITS}"), f"{NUMBERS} up to {MAX_INTEGER}"),
        ("record_epochs", ("-1,4",), "at least 0"),
        ("epochs", ("ten", "2.5", "nan", "inf", "0x10", LONG), WHOLE),
        ("seed", ("none", "", DIGITS), WHOLE),
        ("seed", ("1" * 400, str(2**63), "1e300"), str(MAX_INTEGER)),
        ("label_noise", ("nan", "1e400"), "finite"),
        ("label_noise", ("a lot", "20%", "0,2"), NUMBER),
        ("augment", ("maybe", "1"), TRUTH),
        ("dataset", ("npz:",), "Expected npz:FILE"),
        ("model", ("a/b:f", "..own:build", "own:"), "module:function"),
        ("layers", ("stage[", "*block", "(" * 9000), "is not a regular expression"),
        ("layers", (f"a{{{DIGITS[:20]}}}",), "repetition"),
        ("dataset", ("npz:a\0b",), "NUL"),
        ("data_dir", ("\ud800", os.fsdecode(b"\xff"), "\0"), "Unicode without NUL"),
    ):
        for text in texts:
            output = message(parse_value, name, text)
            assert name in output.lower() and words in output, output


def test_a_configuration_survives_its_file(tmp_path):
    odd = {"dataset": 'npz:some "odd" \\ näme.npz', "seed": 2**53 + 1, "augment": True}
    odd |= {"blocks": (1, 2, 3), "learning_rate": 1e-17, "record_epochs": (0, 3, 7), "pooling": 3}
    odd |= {"layers": "block0[1-3]|stem\\d", "margin": 1 / 3, "momentum": 0.1 + 0.2}
    for config in (Config(), Config(**odd), resolve(Config(model="vit"))):
        path = written(tmp_path, to_toml(config, {"keras": "3.15", "repdyn-keras": "0.1"}))
        found = load_config(path)
        assert Config(**found) == config and load_config(str(path)) == found
        assert set(found) == {key for key in KEYS if getattr(config, key) is not None}
        assert load_versions(path) == {"keras": "3.15", "repdyn-keras": "0.1"}
    path = written(tmp_path, "label_noise = 0  # of nothing else\n")
    assert (load_config(path), load_versions(path)) == ({"label_noise": 0.0}, {})


INVALID_TOML = [b"epochs 4", b"epochs = ", b"epochs = 4\nepochs = 5", b"[unclosed", b'model = "vit']
INVALID_TOML += [b"= 3", b"blocks = [1, 2\n", b'model = "\\q"', b'model = "\\ud800"', b"\0" * 100]
INVALID_TOML += [b"a = 3\rb = 4", b"\xef\xbb\xbfepochs = 3", b'{"epochs": 3}', b"model: resnet"]
INVALID_TOML += [b"x = " + b"[" * 100_000, f"seed = {DIGITS}".encode()]
INVALID_TEXT = [b"\xff\xfe\x00", 'a = "é"'.encode("latin-1"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"]
INVALID_FILES = {
    **dict.fromkeys(INVALID_TOML, "not valid TOML"),
    **dict.fromkeys(INVALID_TEXT, "not UTF-8"),
    b"# x\n" * 300_000: "1048576 bytes",
    b"epoch = 4\n": "run.toml",
    b'"" = 3': "Received: ''",
    b"[training]\nepochs = 3\n": "Received: 'training'",
    b'"\\u001b[2J" = 3': "\\x1b[2J",
    b"epochs = 0": "out of range. Expected a finite number at least 1",
    b"seed = true": "Received: seed = True",
    b"[[blocks]]\nvalue = 3": NUMBERS,
    b'blocks = ["x"' + b', "x"' * 5000 + b"]": "…",
    b"layers = [0x" + b"f" * 5000 + b"]": "layers is out of range",
    b"model = 1979-05-27": "Expected text",
}


def test_invalid_configuration_files_are_rejected(tmp_path):
    for content, words in INVALID_FILES.items():
        path = written(tmp_path, content)
        output = message(load_config, path)
        assert words in output, (content[:40], output)
        assert str(path) in output or b"=" in content
    for path in (tmp_path / "none.toml", tmp_path):
        assert message(load_config, path).startswith(f"Cannot read the configuration {path}. ")


def test_impossible_paths_are_rejected_and_others_accepted(tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for path, words in (
        ("a\0b", "NUL"),
        (LONG, "name too long"),
        ("x/" * 5000, "name too long"),
        ("loop/x", "symbolic links"),
        ("~no-such-user/x", "home"),
        ("\ud800", "Unicode"),
    ):
        assert words in message(usable_path, path)
        for pair in (f"dataset=npz:{path}", f"data_dir={path}", f"model={path}.keras"):
            message(collect, {}, {}, [pair])
    for path in ("none", "~/x", "/", tmp_path, "a/../b"):
        assert str(usable_path(path)) == str(path).replace("~", "/home/me")


def test_precedence_of_options_set_file_and_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert collect({}, {"epochs": None, "seed": None}, []) == {}
    file = load_config(written(tmp_path, 'seed = 1\nepochs = 11\nmodel = "vit"\n'))
    found = collect(file, {"seed": "3", "epochs": None}, ["seed=2", "epochs=12"])
    assert found == {"seed": 3, "epochs": 12, "model": "vit"}
    found = collect({}, {}, ["seed=1", "seed = 5", "dataset=npz:a=b.npz"])
    assert found == {"seed": 5, "dataset": "npz:a=b.npz"}, (
        "a later value wins; values may contain ="
    )
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for option, pairs, values, expected in (
        (None, [], {}, "torch"),
        (None, [], {"backend": "tensorflow"}, "tensorflow"),
        (None, ["backend=jax"], {"backend": "tensorflow"}, "jax"),
        ("tensorflow", ["backend=jax"], {"backend": "torch"}, "tensorflow"),
    ):
        assert collect(values, {"backend": option}, pairs)["backend"] == expected
    for pair in ("epochs", "", "epochs:3", LONG):
        assert "Expected --set key=value" in message(collect, {}, {}, [pair])


def test_presets_fill_only_unset_keys():
    sizes = {"resnet": {"width", "blocks", "stem"}, "vit": {"width", "patch", "depth", "heads"}}
    for model in ("resnet", "vit", "mine:build"):
        filled_keys = {"epochs", "learning_rate", "schedule", "batch_size", "data_seed"}
        filled_keys |= sizes.get(model, set())
        for optimizer in ("sgd", "adam"):
            config = Config(model=model, optimizer=optimizer)
            filled = resolve(config)
            assert resolve(filled) == filled
            assert {k for k in KEYS if getattr(filled, k) != getattr(config, k)} == filled_keys
            assert all(getattr(config, key) is None for key in filled_keys)
    chosen = {"epochs": 3, "width": 5, "learning_rate": 0.0, "schedule": "cosine", "batch_size": 7}
    filled = resolve(Config(**chosen))
    assert {name: getattr(filled, name) for name in chosen} == chosen


def test_every_key_is_described_with_its_default():
    rows = describe_keys()
    assert [name for name, _, _ in rows] == [spec.name for spec in dataclasses.fields(Config)]
    table = {name: (default, words) for name, default, words in rows}
    shown = [table[name][0] for name in ("epochs", "data_seed", "label_noise", "layers")]
    assert shown == ["(preset)", "(seed)", "0.2", "(every block)"]
    assert "jax, tensorflow, torch" in table["backend"][1]
    for name, default, words in rows:
        assert words.strip()
        held = getattr(Config(), name)
        assert held is None if default.startswith("(") else parse_value(name, default) == held


def test_nearest_names():
    many = [f"stage{i}" for i in range(12)]
    for name, valid, expected in (
        ("learning_rte", ["epochs", "learning_rate", "seed"], ["learning_rate"]),
        ("EPOCHS", ["epochs", "seed"], ["epochs"]),
        ("rate", ["learning_rate", "seed"], ["learning_rate"]),
        ("zzz", ["a", "b", "c"], ["a", "b", "c"]),
        ("", ["a", "b"], ["a", "b"]),
        ("x", many, many[:8]),
    ):
        assert nearest(name, valid) == expected
    output = str(unknown("layer", "stge", many, "Look again."))
    assert output.startswith("Unknown layer. Expected one of 12 names, nearest: stage")
    assert output.endswith(". Received: 'stge'. Look again.")


def test_missing_packages_are_named_with_the_command_that_installs_them():
    for name, command in (
        ("torch", "pip install 'repdyn-keras[torch]'"),
        ("jax", "pip install jax"),
    ):
        output = str(not_installed(name, {"torch": "torch"}, "This"))
        assert output.startswith(f"Expected the package {name!r}, which This needs. Received: ")
        assert output.endswith(f": {command}")
    require_memory(1, "this", "width")
    for size, shown in ((10**16, "10.0 PB"), (10**400, "more than 1000 EB")):
        assert f"this, which takes {shown}." in message(require_memory, size, "this", "width")


def test_values_are_quoted_unchanged_and_shortened():
    nested: list = []
    for _ in range(100_000):
        nested = [nested]
    for value, shown in (
        ("résumé", "'résumé'"),
        ("\x1b\u202e", "'\\x1b\\u202e'"),
        ([1, "a"], "[1, 'a']"),
        ("a" + "x" * 10**6 + "b", f"'a{'x' * 37}…{'x' * 38}b'"),
        (16**5000, "a number of thousands of digits"),
        ([16**5000], "a number of thousands of digits"),
        (nested, "a deeply nested list"),
    ):
        assert quoted(value) == shown


TEXTS = st.text(max_size=40) | st.sampled_from(["\0", "\ud800", "none", "1,2", "(", DIGITS, LONG])
TEXTS |= st.integers().map(str) | st.floats().map(str)
LEAVES = st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.binary()
TREES = st.recursive(
    LEAVES, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=8
)


@pytest.mark.parametrize("count", [40, pytest.param(800, marks=pytest.mark.long)])
def test_any_value_is_either_rejected_or_restored_from_its_file(tmp_path, count):
    few = {"max_examples": count, "derandomize": True, "deadline": None, "database": None}

    @settings(**few, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(list(KEYS)), TEXTS, TREES, st.sampled_from(["text", "value", "file"]))
    def check_value(name, text, value, where):
        try:
            if where == "text":
                held = parse_value(name, text)
            elif where == "value" or not isinstance(value, bytes):
                held = check(name, value)
            else:
                held = load_config(written(tmp_path, value)).get(name)
                assert held == tomllib.loads(value.decode()).get(name)
            config = Config(**{name: held})
        except InputError as error:
            assert (name if where != "file" else "") in str(error) and len(str(error)) < 500
            return
        assert getattr(config, name) == held
        assert Config(**load_config(written(tmp_path, to_toml(config, {})))) == config

    check_value()


def test_durations_are_given_in_the_unit_that_a_person_uses():
    hour, day = 3600, 86_400
    for seconds, text in (
        (0, "0 s"),
        (0.4, "0 s"),
        (16.4, "16 s"),
        (59.6, "1 min"),
        (75, "1 min 15 s"),
        (hour - 0.6, "59 min 59 s"),
        (hour - 0.4, "1 h"),
        (hour + 5, "1 h"),
        (day - 60, "23 h 59 min"),
        (3 * day + 14 * hour + 59 * 60, "3 d 14 h"),
        (100 * day - 0.6, "99 d 23 h"),
        (3734 * hour + 52 * 60, "156 d"),
        (6225 * day, "6,225 d"),
    ):
        assert format_duration(seconds) == text, seconds
