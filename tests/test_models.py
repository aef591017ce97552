"""Networks and optimizers: layer names, sizes, seeds and learning-rate schedules."""

import importlib
import random

import keras
import numpy as np
import pytest
from helpers import assert_input_error

from repdyn_keras.config import Config, resolve
from repdyn_keras.models import build_model, build_optimizer, recorded_layers
from repdyn_keras.models.build import InverseSquareRoot, learning_rate
from repdyn_keras.models.resnet import resnet
from repdyn_keras.recording.network.head import find_head
from repdyn_keras.recording.network.layer_choice import choose_layers
from repdyn_keras.recording.network.model_inputs import own_inputs
from repdyn_keras.recording.network.tracing import traced

SMALL = {
    "resnet": {"model": "resnet", "width": 2, "blocks": (1, 2)},
    "vit": {"model": "vit", "width": 4, "patch": 4, "depth": 2, "heads": 2},
}
NAMES = {
    "resnet": ["stem", "stage1_block1", "stage2_block1", "stage2_block2", "pooled"],
    "vit": ["patch_embedding", "block01", "block02", "class_token"],
}
SHAPES = {
    "resnet": [(8, 8, 2), (8, 8, 2), (4, 4, 4), (4, 4, 4), (4,)],
    "vit": [(5, 4), (5, 4), (5, 4), (4,)],
}
FAMILIES = sorted(SMALL)


def built(family: str, shape=(8, 8, 1), n_classes: int = 4, **options) -> keras.Model:
    config = resolve(Config(**{**SMALL[family], **options}))
    return build_model(config, shape, n_classes)


def applied(model, images) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


def chosen_of(model, config) -> dict:
    """Names and shapes of the recorded layers."""
    trace = traced(model, own_inputs(model))
    chosen, _ = choose_layers(trace, recorded_layers(config), find_head(trace))
    return {name: tuple(tap.tensor.shape[1:]) for name, tap in chosen.items()}


@pytest.fixture
def zeros(monkeypatch):
    """Initializes weights to zero, for speed: jax compiles a function for every shape drawn."""
    zeros = keras.initializers.Zeros()
    for family in FAMILIES:
        module = importlib.import_module(f"repdyn_keras.models.{family}")
        monkeypatch.setattr(module, "seeded", lambda seed: lambda kind="", **options: zeros)


@pytest.fixture(scope="module")
def models():
    """Both small networks, with seed 3."""
    return {family: built(family, seed=3) for family in FAMILIES}


def noise(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


# --- architectures ------------------------------------------------------------------------------


def test_recorded_layers_have_documented_names_and_shapes(zeros):
    """The first block of every stage except the first halves the image."""
    for family in FAMILIES:
        found = chosen_of(built(family), resolve(Config(**SMALL[family])))
        assert list(found.items()) == list(zip(NAMES[family], SHAPES[family], strict=True))
    blocks = {
        f"stage{s}_block{b}": (16 // 2 ** (s - 1), 16 // 2 ** (s - 1), 2 ** (s - 1))
        for s in (1, 2, 3, 4)
        for b in (1, 2)
    }
    resnet18 = resnet((16, 16, 3), 10, width=1)
    expected = {"stem": (16, 16, 1), **blocks, "pooled": (8,)}
    assert list(chosen_of(resnet18, Config()).items()) == list(expected.items())
    momenta = {layer.momentum for layer in resnet18.layers if hasattr(layer, "momentum")}
    assert momenta == {0.9}
    config = resolve(Config(model="vit", preset="vit-mu16"))
    found = chosen_of(build_model(config, (32, 32, 3), 10), config)
    assert found == {"patch_embedding": (5, 32), "block01": (5, 32), "class_token": (32,)}
    config = resolve(Config(model="vit", preset="vit-ti4", depth=1))
    found = chosen_of(build_model(config, (32, 32, 3), 10), config)
    assert found == {"patch_embedding": (65, 192), "block01": (65, 192), "class_token": (192,)}


def test_a_configured_expression_replaces_the_default_layers(zeros):
    assert recorded_layers(Config(layers="stem")) == "stem"
    found = chosen_of(built("resnet"), Config(layers="stage2_.*_relu"))
    assert all(name.startswith("stage2_") and name.endswith("_relu") for name in found)
    assert len(found) == 4


@pytest.mark.long
def test_presets_have_as_many_weights_as_the_published_networks(zeros):
    for preset, weights in [
        ("vit-ti16", 5_717_416),
        ("vit-s16", 22_050_664),
        ("vit-b16", 86_567_656),
    ]:
        model = build_model(resolve(Config(model="vit", preset=preset)), (224, 224, 3), 1000)
        assert model.count_params() == weights, preset
    small = build_model(resolve(Config(model="vit", preset="vit-ti4")), (32, 32, 3), 10)
    # DeiT-Ti with patches of 4 x 4 x 3 pixels, 64 patches instead of 196, and 10 classes.
    smaller = 192 * 3 * (16**2 - 4**2) + 192 * (196 - 64) + 193 * (1000 - 10)
    assert small.count_params() == 5_717_416 - smaller
    # Without BatchNormalization, which the published networks place after the convolutions.
    for preset, weights in [
        ("resnet18", 11_689_512 - 513_000 - 9_600),
        ("resnet34", 21_797_672 - 513_000 - 17_024),
    ]:
        model = build_model(resolve(Config(model="resnet", preset=preset)), (224, 224, 3), 1000)
        kernels = [each.kernel for each in model.layers if isinstance(each, keras.layers.Conv2D)]
        assert sum(int(np.prod(kernel.shape)) for kernel in kernels) == weights, preset
        assert model.get_layer("output").count_params() == 513_000
        assert model.get_layer("stem").output.shape == (None, 56, 56, 64)
        assert model.get_layer("stage4_block1").output.shape == (None, 7, 7, 512)
    config = resolve(Config(model="resnet", preset="resnet34-cifar", width=1))
    found = chosen_of(build_model(config, (32, 32, 3), 10), config)
    assert len(found) == 2 + 3 + 4 + 6 + 3 and found["stem"] == (32, 32, 1)


def test_resnet18_has_as_many_weights_as_counted_by_hand(zeros):
    k, channels, classes = 3, 2, 10
    norm = 4  # scale, shift, moving mean, moving variance of each channel
    count = 9 * channels * k
    width = k
    for stage in range(4):
        out = k * 2**stage
        if width != out:
            count += width * out  # projection of the shortcut
        for _ in range(2):
            count += norm * width + 9 * width * out + norm * out + 9 * out * out
            width = out
    count += norm * width + width * classes + classes
    assert resnet((16, 16, channels), classes, width=k).count_params() == count


def test_presets_and_sizes_that_do_not_fit_are_rejected():
    config = resolve(Config(model="vit", preset="vit-s16", depth=2, patch=4))
    assert (config.width, config.depth, config.heads, config.patch) == (384, 2, 6, 4)
    for options, message in [
        ({"model": "vit", "preset": "resnet34"}, "Unknown preset of vit.*vit-ti16.*'resnet34'"),
        (
            {"model": "resnet", "preset": "resnet43"},
            "Unknown preset of resnet.*resnet34.*'resnet43'",
        ),
        (
            {"model": "mine:build", "preset": "resnet34"},
            "Expected no preset.*'mine:build'.*'resnet34'",
        ),
    ]:
        assert_input_error(options, message, lambda options=options: resolve(Config(**options)))
    for options, message in [
        ({"patch": 3}, "Expected a patch that divides.* 8 x 8 pixels.*patch = 3"),
        ({"heads": 3}, "divides width = 4.*heads = 3"),
    ]:
        assert_input_error(options, message, built, "vit", **options)
    assert_input_error("height", "9 x 8 pixels", built, "vit", (9, 8, 1))


# --- weights ------------------------------------------------------------------------------------


@pytest.mark.long
def test_weights_depend_only_on_the_seed(models):
    """Global random state is unchanged."""

    def states():
        found = [random.getstate(), np.random.get_state()[1].tolist()]
        if keras.backend.backend() == "torch":
            import torch

            found.append(torch.get_rng_state().tolist())
        return found

    keras.utils.set_random_seed(99)
    before = states()
    for family, model in models.items():
        again, other = built(family, seed=3), built(family, seed=4)
        for one, same, new in zip(*(m.get_weights() for m in (model, again, other)), strict=True):
            np.testing.assert_array_equal(one, same)
            is_constant = np.ptp(one) == 0
            assert np.array_equal(one, new) == is_constant, family
    assert states() == before


@pytest.mark.long
def test_all_weights_of_a_network_are_drawn_independently(models):
    """Layers that shared a seed would have the same initial weights."""
    for model in models.values():
        draws = {}
        for weight, values in zip(model.weights, model.get_weights(), strict=True):
            if values.std() > 0:
                standard = (values.ravel()[:16] / values.ravel()[0]).round(3)
                draws.setdefault(standard.tobytes(), []).append(weight.path)
        assert [paths for paths in draws.values() if len(paths) > 1] == []


@pytest.mark.long
def test_large_seeds_can_draw_the_weights():
    for seed in (0, 50_000, 2**31 - 1):
        model = built("resnet", seed=seed)
        assert np.isfinite(applied(model, noise(4, 8, 8, 1))).all(), seed


# --- outputs --------------------------------------------------------------------------------------


@pytest.mark.long
def test_images_of_any_size_and_channels_are_accepted():
    for family, shape, options in [
        ("resnet", (7, 9, 1), {}),
        ("resnet", (7, 9, 4), {}),
        ("vit", (6, 9, 4), {"patch": 3}),
    ]:
        logits = applied(built(family, shape, 5, **options), noise(4, *shape))
        assert logits.shape == (4, 5)
        assert np.isfinite(logits).all()


@pytest.mark.long
def test_the_output_is_logits_that_depend_on_every_pixel(models):
    images = noise(4, 8, 8, 1)
    changed = images.copy()
    changed[0, 7, 7, 0] += 3
    for family, model in models.items():
        assert model.layers[-1].name == "output"
        assert model.layers[-1].activation is keras.activations.linear
        logits, after = applied(model, images), applied(model, changed)
        assert not np.allclose(logits.sum(axis=1), 1, atol=1e-3), family
        kernel, bias = model.layers[-1].get_weights()
        features = applied(keras.Model(model.inputs[0], model.layers[-1].input), images)
        np.testing.assert_allclose(logits, features @ kernel + bias, atol=1e-5, err_msg=family)
        assert not np.allclose(logits[0], after[0], atol=1e-6), family
        np.testing.assert_allclose(logits[1:], after[1:], atol=1e-6)
    swapped = np.concatenate([images[:, 4:], images[:, :4]], axis=1)
    differs = np.abs(applied(models["vit"], images) - applied(models["vit"], swapped)).max(axis=1)
    assert (differs > 1e-6).all(), "a ViT distinguishes positions"


# --- optimizers -----------------------------------------------------------------------------------


def at(schedule, step: int) -> float:
    return float(keras.ops.convert_to_numpy(schedule(step)))


def test_inverse_square_root_equals_the_published_formula():
    for step in (0, 1, 511, 512, 1023, 1024, 5119, 5120, 100_000):
        expected = 0.1 / np.sqrt(1 + np.floor(step / 512))
        assert at(InverseSquareRoot(0.1), step) == pytest.approx(expected, rel=1e-6)
        assert at(learning_rate("inverse-sqrt", 0.1, 77), step) == pytest.approx(expected, rel=1e-6)
    copy = InverseSquareRoot.from_config(InverseSquareRoot(0.3, 10).get_config())
    assert at(copy, 25) == pytest.approx(0.3 / np.sqrt(3), rel=1e-6)


def test_constant_and_cosine_schedules():
    """The cosine starts at the rate, is half of it midway and ends at zero."""
    schedule = learning_rate("cosine", 0.2, 40)
    assert at(schedule, 0) == pytest.approx(0.2, rel=1e-6)
    assert at(schedule, 20) == pytest.approx(0.1, rel=1e-5)
    assert at(schedule, 40) == pytest.approx(0, abs=1e-8)
    assert learning_rate("constant", 0.2, 40) == 0.2
    message = "Unknown schedule.*cosine.*'cosin'"
    assert_input_error("cosin", message, learning_rate, "cosin", 0.1, 10)


def steps_of(optimizer, gradients: list[float], start: float = 1.0) -> list[float]:
    """The values of one weight after each of the gradients."""
    weight = keras.Variable(np.array([start], "float32"))
    course = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.array([gradient], "float32"))], [weight])
        course.append(float(keras.ops.convert_to_numpy(weight.value)[0]))
    return course


def optimizer_of(**options):
    base = {"learning_rate": 0.1, "schedule": "constant", "epochs": 1}
    return build_optimizer(resolve(Config(**{**base, **options})), 10)


def test_sgd_has_the_configured_momentum_and_adam_the_rate_as_its_first_step():
    course = steps_of(optimizer_of(momentum=0.5), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(course, [0.9, 0.75, 0.675], rtol=1e-5)
    for gradient in (1e-2, 100.0):
        course = steps_of(optimizer_of(optimizer="adam"), [gradient])
        assert course[0] == pytest.approx(0.9, rel=1e-4)


def test_weight_decay_is_decoupled_from_the_gradient():
    for optimizer in ("sgd", "adam"):
        course = steps_of(optimizer_of(optimizer=optimizer, weight_decay=0.2), [0.0, 0.0])
        np.testing.assert_allclose(course, [0.98, 0.98**2], rtol=1e-5, err_msg=optimizer)
        assert steps_of(optimizer_of(optimizer=optimizer), [0.0, 0.0]) == [1.0, 1.0]


def test_the_cosine_schedule_of_a_run_ends_with_its_last_step():
    optimizer = optimizer_of(schedule="cosine", momentum=0.0)
    course = steps_of(optimizer, [1.0] * 12, start=0.0)
    rates = -np.diff([0.0, *course])
    expected = [0.05 * (1 + np.cos(np.pi * min(step, 10) / 10)) for step in range(12)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)
