"""The registries: entries are complete, and a new entry is sufficient."""

import inspect
import re
import sys
import types

import keras
import numpy as np
import pytest
from helpers import assert_input_error, repdyn

from repdyn_keras.config import DATASETS, NETWORKS, OPTIMIZERS, SCHEDULES, Config, resolve
from repdyn_keras.config.key_table import describe_keys
from repdyn_keras.config.keys import KEYS
from repdyn_keras.config.registry import (
    DatasetEntry,
    NetworkEntry,
    OptimizerEntry,
    ScheduleEntry,
    import_object,
)
from repdyn_keras.datasets import load
from repdyn_keras.datasets.load import RawData
from repdyn_keras.models import block_layers, build_model, build_optimizer, recorded_layers
from repdyn_keras.models.build import learning_rate
from repdyn_keras.records.run_folder import run_name

pytestmark = pytest.mark.one_backend

REGISTRIES = {registry.key: registry for registry in (DATASETS, NETWORKS, OPTIMIZERS, SCHEDULES)}
ENTRIES = [(key, entry) for key, registry in REGISTRIES.items() for entry in registry.values()]
IDS = [f"{key}-{entry.form}" for key, entry in ENTRIES]
# A value of each form with an argument.
VALUES = {
    "npz:FILE": "npz:~/set/a.npz",
    "folder:PATH": "folder:/some/photos",
    "idx:PATH": "idx:/some/mnist",
    "tfds:NAME": "tfds:mnist",
    "module:function": "mine:build",
    "FILE.keras": "models/a.keras",
}


def value_of(entry) -> str:
    """A value of the key that matches the entry."""
    return VALUES.get(entry.form, entry.form)


@pytest.mark.parametrize(("key", "entry"), ENTRIES, ids=IDS)
def test_the_factory_of_every_entry_exists_and_accepts_its_keys(key, entry):
    factory = entry.load_factory()
    assert callable(factory) and entry.help and key in KEYS
    assert set(entry.keys) <= set(KEYS)
    given = {
        "dataset": ([""] if ":" in entry.form else [], {"seed": 0}),
        "model": ([], {"image_shape": (8, 8, 1), "n_classes": 2, "seed": 0}),
        "optimizer": ([0.1], {"weight_decay": None}),
        "schedule": ([0.1, 10], {}),
    }
    positional, named = given[key]
    inspect.signature(factory).bind(*positional, **named, **dict.fromkeys(entry.keys))


@pytest.mark.parametrize(("key", "entry"), ENTRIES, ids=IDS)
def test_an_entry_is_found_only_by_its_values(key, entry):
    registry, value = REGISTRIES[key], value_of(entry)
    assert registry.find(value) is entry is registry[entry.form]
    assert [one for one in registry.values() if one.matches(value)] == [entry]
    assert getattr(Config(**{key: value}), key) == value
    assert_input_error(key, f"Unknown {key}. Expected .*{entry.form}", registry.find, "")


def test_defaults_of_entries_are_valid_and_presets_are_unique():
    presets = [name for entry in NETWORKS.values() for name in entry.presets]
    assert len(presets) == len(set(presets)) > 0
    for network in NETWORKS.values():
        assert set(network.size_keys) <= set(network.keys)
        assert set(network.defaults) <= set(network.keys)
        assert set(network.training) <= set(OPTIMIZERS)
        for preset in (None, *network.presets):
            for optimizer in OPTIMIZERS:
                config = Config(model=value_of(network), optimizer=optimizer, preset=preset)
                resolved = resolve(config)
                filled = {*network.keys, "learning_rate", "schedule", "batch_size", "epochs"}
                assert all(getattr(resolved, key) is not None for key in filled)
                for name, value in network.presets.get(preset, {}).items():
                    assert getattr(resolved, name) == value


def test_size_estimates_are_lower_bounds_within_a_factor_of_the_networks_weights(monkeypatch):
    zeros = keras.initializers.Zeros()
    for entry in NETWORKS.values():
        if entry.weights is None:
            continue
        module = sys.modules[entry.load_factory().__module__]
        monkeypatch.setattr(module, "seeded", lambda seed: lambda kind="", **options: zeros)
        sizes = {"width": 32}
        config = resolve(Config(model=entry.form, **sizes))
        weights = build_model(config, (32, 32, 3), 10).count_params()
        given = {key: getattr(config, key) for key in entry.size_keys}
        estimate = import_object(entry.weights)(**given)
        assert 0.5 * weights < estimate <= weights, entry.form


def test_blocks_are_some_of_the_recorded_layers(monkeypatch):
    zeros = keras.initializers.Zeros()
    for entry in NETWORKS.values():
        config = resolve(Config(model=value_of(entry)))
        assert (recorded_layers(config), block_layers(config)) == (entry.layers, entry.blocks)
        if entry.layers is None:
            assert entry.blocks is None, "a user's network"
            continue
        module = sys.modules[entry.load_factory().__module__]
        monkeypatch.setattr(module, "seeded", lambda seed: lambda kind="", **options: zeros)
        names = [layer.name for layer in build_model(config, (8, 8, 1), 4).layers]
        recorded = [name for name in names if re.fullmatch(entry.layers, name)]
        blocks = [name for name in names if re.fullmatch(entry.blocks, name)]
        assert 1 < len(blocks) < len(recorded)
        assert set(blocks) < set(recorded)
        assert len(blocks) == (config.depth or sum(config.blocks))


def test_help_texts_name_every_entry():
    help_texts = repdyn("run", "--help").stdout
    record_help = repdyn("record", "--help").stdout
    keys = {name: meaning for name, _, meaning in describe_keys()}
    printed = repdyn("run", "--keys").stdout
    for key, entry in ENTRIES:
        assert f"{entry.form} ({entry.help})" in keys[key]
        assert entry.form in printed
        assert key == "schedule" or entry.form in help_texts
        assert key not in ("dataset", "model") or entry.form in record_help
        for name in set(entry.keys) - {"backend", "model"}:
            assert re.search(rf"\(for .*\b{entry.form}\b.*\)", keys[name]), (name, entry.form)
    for network in NETWORKS.values():
        assert all(name in keys["preset"] for name in network.presets)


def test_folder_names_consist_of_short_names_of_entries():
    for network in NETWORKS.values():
        for data in DATASETS.values():
            config = Config(dataset=value_of(data), model=value_of(network), seed=7)
            name = run_name(config)
            assert re.fullmatch(r"[\w.]+(-[\w.]+)*-sgd-s7", name), name
    names = {data.form: data.short_name(value_of(data)) for data in DATASETS.values()}
    assert (names["npz:FILE"], names["folder:PATH"], names["idx:PATH"]) == ("a", "photos", "mnist")
    assert NETWORKS["FILE.keras"].short_name(VALUES["FILE.keras"]) == "a"


# --- new entries ----------------------------------------------------------------------------------


def stripes(path: str, seed: int, synthetic_train: int) -> RawData:
    """Two classes of images that are bright on the left or on the right."""
    labels = np.arange(synthetic_train) % 2
    images = np.zeros((len(labels), 4, 4, 1), np.float32)
    images[labels == 0, :, :2] = images[labels == 1, :, 2:] = 1 + len(path) + seed
    return RawData.from_arrays((images, labels, images[:8], labels[:8]))


def perceptron(image_shape, n_classes, *, width: int, seed: int) -> keras.Model:
    """Two dense layers."""
    init = keras.initializers.HeNormal(seed)
    images = keras.Input(image_shape)
    x = keras.layers.Flatten()(images)
    x = keras.layers.Dense(width, "relu", kernel_initializer=init, name="hidden1")(x)
    return keras.Model(images, keras.layers.Dense(n_classes, name="output")(x))


def weights_of_perceptron(width: int) -> int:
    """An estimate of the number of weights."""
    return 17 * width


def twice(rate: float, total_steps: int) -> float:
    """Twice the rate."""
    return 2 * rate


@pytest.fixture
def new_module(monkeypatch) -> str:
    """Creates a module of the functions above; returns its name."""
    module = types.ModuleType("new_entries")
    for function in (stripes, perceptron, weights_of_perceptron, twice):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_a_data_set_is_added_by_an_entry(new_module, monkeypatch):
    assert_input_error("before", "Unknown dataset", Config, dataset="stripes:x")
    entry = DatasetEntry(
        form="stripes:WHAT",
        help="stripes",
        factory=f"{new_module}:stripes",
        keys=("synthetic_train",),
        shorten=str.upper,
    )
    monkeypatch.setitem(DATASETS, entry.form, entry)
    data = load(Config(dataset="stripes:abc", synthetic_train=24, label_noise=0, standardize=False))
    assert data.x_train.shape == (24, 4, 4, 1) and data.n_classes == 2
    assert data.x_train[:].max() == 1 + len("abc") + 1, "the argument and the seed of the split"
    assert run_name(Config(dataset="stripes:abc")) == "ABC-resnet-sgd-s0"
    assert_input_error("no argument", "Expected stripes:WHAT", Config, dataset="stripes:")
    assert "stripes:WHAT" in dict((name, text) for name, _, text in describe_keys())["dataset"]


def test_a_network_is_added_by_an_entry(new_module, monkeypatch):
    assert_input_error("before", "Unknown model", Config, model="perceptron")
    entry = NetworkEntry(
        form="perceptron",
        help="two dense layers",
        factory=f"{new_module}:perceptron",
        keys=("width",),
        defaults={"width": 5},
        training={"sgd": {"learning_rate": 0.3, "schedule": "constant", "batch_size": 7}},
        presets={"perceptron-wide": {"width": 9}},
        layers=r"hidden\d+",
        blocks=r"hidden\d",
        weights=f"{new_module}:weights_of_perceptron",
        size_keys=("width",),
    )
    monkeypatch.setitem(NETWORKS, entry.form, entry)
    config = resolve(Config(model="perceptron"))
    assert (config.width, config.learning_rate, config.batch_size) == (5, 0.3, 7)
    assert resolve(Config(model="perceptron", preset="perceptron-wide")).width == 9
    other = resolve(Config(model="perceptron", optimizer="adam"))
    assert other.learning_rate == OPTIMIZERS["adam"].defaults["learning_rate"]
    model = build_model(config, (4, 4, 1), 3)
    assert model.count_params() == 16 * 5 + 5 + 5 * 3 + 3
    assert (recorded_layers(config), block_layers(config)) == (r"hidden\d+", r"hidden\d")
    assert run_name(config) == "digits-perceptron-sgd-s0"
    monkeypatch.setattr("repdyn_keras.config.limits.total_memory", lambda: 17 * 5 * 12 - 1)
    message = "Expected a smaller width.* Received: the perceptron with width = 5"
    assert_input_error("memory", message, build_model, config, (4, 4, 1), 3)
    monkeypatch.setattr("repdyn_keras.config.limits.total_memory", lambda: 17 * 5 * 12)
    result = repdyn("layers", "perceptron", "--set", "image_size=4")
    assert result.exit_code == 0 and re.search(r"─ hidden1 +5 +Dense +recorded\n", result.stdout)


def test_optimizers_and_schedules_are_added_by_entries(new_module, monkeypatch):
    rate = {"learning_rate": 0.5, "schedule": "twice", "batch_size": 3}
    rmsprop = OptimizerEntry(
        form="rmsprop",
        help="RMSprop",
        factory="keras.optimizers:RMSprop",
        keys=("momentum",),
        defaults=rate,
    )
    schedule = ScheduleEntry(form="twice", help="twice the rate", factory=f"{new_module}:twice")
    monkeypatch.setitem(OPTIMIZERS, rmsprop.form, rmsprop)
    monkeypatch.setitem(SCHEDULES, schedule.form, schedule)
    config = resolve(Config(optimizer="rmsprop", model="mine:build", momentum=0.25))
    assert config.batch_size == 3
    optimizer = build_optimizer(config, 10)
    assert isinstance(optimizer, keras.optimizers.RMSprop)
    assert float(optimizer.learning_rate) == learning_rate("twice", 0.5, 1) == 1.0
    assert optimizer.momentum == 0.25 and optimizer.weight_decay is None
