"""Networks and optimizers: their names, sizes, seeds and courses of the learning rate."""

import importlib
import random

import keras
import numpy as np
import pytest

from repdyn_keras.config import Config, resolve
from repdyn_keras.errors import InputError
from repdyn_keras.models import build_model, build_optimizer, recorded_layers
from repdyn_keras.models.resnet import resnet
from repdyn_keras.models.schedules import InverseSquareRoot, learning_rate
from repdyn_keras.recording.layers import choose_layers

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


def arrays(model) -> list[np.ndarray]:
    return model.get_weights()


def same(one, other) -> bool:
    pairs = list(zip(arrays(one), arrays(other), strict=True))
    return all(np.array_equal(a, b) for a, b in pairs)


def applied(model, images) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images, training=False))


@pytest.fixture
def undrawn(monkeypatch):
    """Weights are zeros where only names, shapes and numbers matter: jax compiles each draw."""
    zeros = keras.initializers.Zeros()
    for family in FAMILIES:
        module = importlib.import_module(f"repdyn_keras.models.{family}")
        monkeypatch.setattr(module, "seeded", lambda seed: lambda kind="", **options: zeros)


def noise(*shape) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize("family", FAMILIES)
def test_recorded_layers_are_the_representations_in_the_order_of_the_network(family, undrawn):
    config = resolve(Config(**SMALL[family]))
    chosen, _ = choose_layers(built(family), recorded_layers(config))
    assert list(chosen) == NAMES[family]


def test_layers_of_resnet18_are_named_by_stage_and_block(undrawn):
    chosen, _ = choose_layers(resnet((8, 8, 1), 10, width=1), recorded_layers(Config()))
    blocks = [f"stage{s}_block{b}" for s in (1, 2, 3, 4) for b in (1, 2)]
    assert list(chosen) == ["stem", *blocks, "pooled"]


def test_a_configured_expression_replaces_the_networks_own_layers(undrawn):
    assert recorded_layers(Config(layers="stem")) == "stem"
    chosen, _ = choose_layers(built("resnet"), recorded_layers(Config(layers="stage2_.*_relu")))
    assert all(name.startswith("stage2_") and name.endswith("_relu") for name in chosen)
    assert len(chosen) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_block_outputs_have_the_shapes_of_the_architecture(family, undrawn):
    model = built(family)
    shapes = [tuple(model.get_layer(name).output.shape[1:]) for name in NAMES[family]]
    assert shapes == SHAPES[family]


def test_only_the_first_block_of_a_later_stage_halves_the_image(undrawn):
    model = resnet((32, 32, 3), 10, width=1)
    sides = [
        model.get_layer(f"stage{stage}_block{block}").output.shape[1:]
        for stage in (1, 2, 3, 4)
        for block in (1, 2)
    ]
    assert [tuple(shape) for shape in sides] == [
        (32 // 2**stage, 32 // 2**stage, 2**stage) for stage in range(4) for _ in range(2)
    ]


@pytest.mark.long
@pytest.mark.parametrize(
    ("preset", "weights"),
    [("vit-ti16", 5_717_416), ("vit-s16", 22_050_664), ("vit-b16", 86_567_656)],
)
def test_presets_of_the_vit_have_as_many_weights_as_the_published_networks(
    undrawn, preset, weights
):
    config = resolve(Config(model="vit", preset=preset))
    assert build_model(config, (224, 224, 3), 1000).count_params() == weights


def test_the_smallest_vit_has_one_block_of_width_32(undrawn):
    config = resolve(Config(model="vit", preset="vit-mu16"))
    model = build_model(config, (32, 32, 3), 10)
    chosen, _ = choose_layers(model, recorded_layers(config))
    assert list(chosen) == ["patch_embedding", "block01", "class_token"]
    assert chosen["block01"].shape == (None, 5, 32)


@pytest.mark.long
@pytest.mark.parametrize(
    # The published networks' weights, less those of their BatchNormalization: they normalize
    # after the convolutions, ours before.
    ("preset", "convolutions"),
    [("resnet18", 11_689_512 - 513_000 - 9_600), ("resnet34", 21_797_672 - 513_000 - 17_024)],
)
def test_presets_of_the_resnet_have_the_published_convolutions(undrawn, preset, convolutions):
    config = resolve(Config(model="resnet", preset=preset))
    model = build_model(config, (224, 224, 3), 1000)
    kernels = [
        int(np.prod(layer.kernel.shape))
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    ]
    assert sum(kernels) == convolutions
    assert model.get_layer("output").count_params() == 513_000
    assert model.get_layer("stem").output.shape == (None, 56, 56, 64)
    assert model.get_layer("stage4_block1").output.shape == (None, 7, 7, 512)


def test_resnet34_has_as_many_blocks_as_its_table_says(undrawn):
    config = resolve(Config(model="resnet", preset="resnet34-cifar", width=1))
    chosen, _ = choose_layers(build_model(config, (32, 32, 3), 10), recorded_layers(config))
    blocks = [f"stage{s}_block{b + 1}" for s, n in enumerate((3, 4, 6, 3), 1) for b in range(n)]
    assert list(chosen) == ["stem", *blocks, "pooled"]
    assert chosen["stem"].shape == (None, 32, 32, 1)


def test_what_is_set_wins_over_its_preset():
    config = resolve(Config(model="vit", preset="vit-s16", depth=2, patch=4))
    assert (config.width, config.depth, config.heads, config.patch) == (384, 2, 6, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "vit", "preset": "resnet34"}, "Unknown preset of vit 'resnet34'.*vit-ti16"),
        ({"model": "resnet", "preset": "resnet43"}, "Unknown preset of resnet .*resnet34"),
        ({"model": "mine:build", "preset": "resnet34"}, "came with the network 'mine:build'"),
    ],
)
def test_a_preset_of_another_network_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        resolve(Config(**options))


@pytest.mark.long
def test_resnet18_of_width_64_has_as_many_weights_as_counted_by_hand(undrawn):
    k, channels, classes = 64, 3, 10
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
    assert resnet((32, 32, channels), classes, width=k).count_params() == count


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_gives_same_weights_whatever_was_built_before(family):
    first = built(family, seed=3)
    built("vit", seed=5)
    built("resnet", seed=5)
    keras.utils.set_random_seed(99)
    assert same(first, built(family, seed=3))


@pytest.mark.parametrize("family", FAMILIES)
def test_another_seed_draws_every_random_weight_anew(family):
    for one, other in zip(
        arrays(built(family, seed=3)), arrays(built(family, seed=4)), strict=True
    ):
        is_constant = np.ptp(one) == 0
        assert np.array_equal(one, other) == is_constant


@pytest.mark.parametrize("family", FAMILIES)
def test_no_two_weights_of_a_network_are_the_same_draw(family):
    """Layers that share an initializer's seed would begin as copies of each other."""
    draws = {}
    for weight, values in zip(built(family).weights, arrays(built(family)), strict=True):
        if values.std() > 0:
            standard = (values.ravel()[:16] / values.ravel()[0]).round(3)
            draws.setdefault(standard.tobytes(), []).append(weight.path)
    assert [paths for paths in draws.values() if len(paths) > 1] == []


@pytest.mark.parametrize("seed", [0, 50_000, 2**31 - 1])
def test_every_seed_can_draw_the_weights(seed):
    model = built("resnet", seed=seed)
    assert np.isfinite(applied(model, noise(4, 8, 8, 1))).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_building_leaves_global_random_state_alone(family):
    np.random.seed(12)
    random.seed(12)
    before, before_python = np.random.get_state(), random.getstate()
    built(family)
    assert random.getstate() == before_python
    assert all(np.array_equal(a, b) for a, b in zip(before, np.random.get_state(), strict=True))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="torch's own generator")
@pytest.mark.parametrize("family", FAMILIES)
def test_building_leaves_torchs_generator_alone(family):
    import torch

    before = torch.get_rng_state()
    built(family)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("family", "shape", "options"),
    [
        ("resnet", (7, 9, 1), {}),
        ("resnet", (7, 9, 4), {}),
        ("vit", (6, 9, 4), {"patch": 3}),
    ],
)
def test_images_of_any_size_and_channels_are_taken(family, shape, options):
    logits = applied(built(family, shape, 5, **options), noise(4, *shape))
    assert logits.shape == (4, 5)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"patch": 3}, ["patch = 3", "8 x 8", "divisor"]), ({"heads": 3}, ["heads = 3", "width = 4"])],
)
def test_vit_that_does_not_divide_is_refused(options, words):
    with pytest.raises(InputError) as caught:
        built("vit", **options)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize("family", FAMILIES)
def test_output_is_logits(family):
    model = built(family)
    assert model.layers[-1].name == "output"
    assert model.layers[-1].activation is keras.activations.linear
    logits = applied(model, 5 * noise(4, 8, 8, 1))
    assert (logits < 0).any()
    assert not np.allclose(logits.sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_pixels_reach_the_output(family):
    model, images = built(family), noise(4, 8, 8, 1)
    changed = images.copy()
    changed[0, 7, 7, 0] += 3
    before, after = applied(model, images), applied(model, changed)
    assert not np.allclose(before[0], after[0], atol=1e-6)
    np.testing.assert_allclose(before[1:], after[1:], atol=1e-6)


def test_vit_tells_positions_apart():
    model, images = built("vit"), noise(4, 8, 8, 1)
    swapped = np.concatenate([images[:, 4:], images[:, :4]], axis=1)
    differs = np.abs(applied(model, images) - applied(model, swapped)).max(axis=1) > 1e-6
    assert differs.all()


def test_batch_normalization_follows_with_momentum_of_0_9(undrawn):
    momenta = [
        layer.momentum
        for layer in built("resnet").layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert momenta == [0.9] * 7


def at(schedule, step: int) -> float:
    return float(keras.ops.convert_to_numpy(schedule(step)))


@pytest.mark.parametrize("step", [0, 1, 511, 512, 1023, 1024, 5119, 5120, 100_000])
def test_inverse_square_root_is_the_papers_formula(step):
    expected = 0.1 / np.sqrt(1 + np.floor(step / 512))
    assert at(InverseSquareRoot(0.1), step) == pytest.approx(expected, rel=1e-6)
    assert at(learning_rate("inverse-sqrt", 0.1, 77), step) == pytest.approx(expected, rel=1e-6)


def test_inverse_square_root_is_rebuilt_from_its_settings():
    copy = InverseSquareRoot.from_config(InverseSquareRoot(0.3, 10).get_config())
    assert at(copy, 25) == pytest.approx(0.3 / np.sqrt(3), rel=1e-6)


def test_cosine_begins_at_the_rate_halves_midway_and_ends_at_zero():
    schedule = learning_rate("cosine", 0.2, 40)
    assert at(schedule, 0) == pytest.approx(0.2, rel=1e-6)
    assert at(schedule, 20) == pytest.approx(0.1, rel=1e-5)
    assert at(schedule, 40) == pytest.approx(0, abs=1e-8)


def test_constant_schedule_is_the_rate():
    assert learning_rate("constant", 0.2, 40) == 0.2


def test_unknown_schedule_names_the_nearest():
    with pytest.raises(InputError, match="Unknown schedule 'cosin'.*cosine"):
        learning_rate("cosin", 0.1, 10)


def steps_of(optimizer, gradients: list[float], start: float = 1.0) -> list[float]:
    """The course of one weight under given gradients."""
    weight = keras.Variable(np.array([start], "float32"))
    course = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(np.array([gradient], "float32"))], [weight])
        course.append(float(keras.ops.convert_to_numpy(weight.value)[0]))
    return course


def optimizer_of(**options):
    base = {"learning_rate": 0.1, "schedule": "constant", "epochs": 1}
    return build_optimizer(resolve(Config(**{**base, **options})), 10)


def test_sgd_has_the_configured_momentum():
    course = steps_of(optimizer_of(momentum=0.5), [1.0, 1.0, 0.0])
    np.testing.assert_allclose(course, [0.9, 0.75, 0.675], rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_is_decoupled_from_the_gradient(optimizer):
    course = steps_of(optimizer_of(optimizer=optimizer, weight_decay=0.2), [0.0, 0.0])
    np.testing.assert_allclose(course, [0.98, 0.98**2], rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_without_weight_decay_a_weight_without_gradient_stays(optimizer):
    assert steps_of(optimizer_of(optimizer=optimizer), [0.0, 0.0]) == [1.0, 1.0]


def test_adams_first_step_is_the_rate_whatever_the_gradients_size():
    for gradient in (1e-2, 100.0):
        course = steps_of(optimizer_of(optimizer="adam"), [gradient])
        assert course[0] == pytest.approx(0.9, rel=1e-4)


def test_the_cosine_schedule_of_a_run_ends_with_its_last_step():
    optimizer = optimizer_of(schedule="cosine", momentum=0.0)
    course = steps_of(optimizer, [1.0] * 12, start=0.0)
    rates = -np.diff([0.0, *course])
    expected = [0.05 * (1 + np.cos(np.pi * min(step, 10) / 10)) for step in range(12)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)
