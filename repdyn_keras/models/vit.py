"""Vision Transformers for images of any size."""

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from repdyn_keras.errors import InputError
from repdyn_keras.models.build import seeded


class Tokens(layers.Layer):
    """Prepends a learned class token and adds a learned position embedding.

    Input (batch, patches, width), output (batch, patches + 1, width).

    Args:
        init: function that creates seeded initializers.
    """

    def __init__(self, init: Callable[..., Any] | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self._init = init or seeded(0)

    def build(self, shape: tuple[int, ...]) -> None:
        _, patches, width = shape
        self.class_token = self.add_weight(
            shape=(1, 1, width), initializer="zeros", name="class_token"
        )
        self.position = self.add_weight(
            shape=(1, patches + 1, width),
            initializer=self._init("truncated_normal", stddev=0.02),
            name="position",
        )

    def call(self, x: Any) -> Any:
        token = keras.ops.broadcast_to(
            keras.ops.cast(self.class_token, x.dtype), (keras.ops.shape(x)[0], 1, x.shape[-1])
        )
        return keras.ops.concatenate([token, x], axis=1) + keras.ops.cast(self.position, x.dtype)


def vit(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    patch: int = 4,
    width: int = 192,
    depth: int = 6,
    heads: int = 3,
    seed: int = 0,
) -> keras.Model:
    """A Vision Transformer with pre-normalized encoder blocks and a class token.

    An encoder block consists of attention and an MLP of four times the width, each with a preceding
    LayerNormalization and a residual connection. The output of a block's second `Add` is its
    representation.

    Source: Dosovitskiy et al. 2021 (arXiv 2010.11929), equations 1-4.

    Args:
        image_shape: (height, width, channels) of the images; `patch` must divide height and width.
        n_classes: number of classes; the output is (n, n_classes) logits.
        patch: side of a square patch, in pixels.
        width: features of a token; `heads` must divide it.
        depth: number of encoder blocks.
        heads: attention heads of a block.
        seed: seed of the initial weights.

    Returns:
        A functional model with the named layers `patch_embedding`, `block01`, ..., `class_token`,
        `output`.

    Raises:
        InputError: `patch` does not divide the sides of the images, or `heads` the width.
    """
    image_height, image_width = image_shape[:2]
    if image_height % patch or image_width % patch:
        raise InputError(
            f"Expected a patch that divides both sides of the images, {image_height} x "
            f"{image_width} pixels. Received: patch = {patch}. Choose another: --set patch=..."
        )
    if width % heads:
        raise InputError(
            f"Expected a number of heads that divides width = {width}. Received: heads = {heads}. "
            "Choose another: --set heads=..."
        )
    init = seeded(seed)

    def dense(x, units, name, activation=None):
        return layers.Dense(
            units,
            activation=activation,
            kernel_initializer=init("glorot_uniform"),
            name=name,
        )(x)

    def attend(x, name):
        attention = layers.MultiHeadAttention(
            heads, width // heads, kernel_initializer="zeros", name=name
        )
        x = attention(x, x)
        # MultiHeadAttention would draw all four kernels from the same seed and scale them like
        # kernels of convolutions. Here each is drawn as by Glorot for width x width.
        limit = (3 / width) ** 0.5
        for weight in attention.weights:
            if weight.name == "kernel":
                draw = init("random_uniform", minval=-limit, maxval=limit)
                weight.assign(draw(weight.shape))
        return x

    def block(x, name):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_1_norm")(x)
        y = attend(y, f"{name}_attention")
        x = layers.Add(name=f"{name}_attended")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_2_norm")(x)
        y = dense(y, 4 * width, f"{name}_mlp_1", "gelu")
        y = dense(y, width, f"{name}_mlp_2")
        return layers.Add(name=name)([x, y])

    images = keras.Input(image_shape, name="images")
    x = layers.Conv2D(
        width,
        patch,
        strides=patch,
        kernel_initializer=init("glorot_uniform"),
        name="patch_projection",
    )(images)
    x = layers.Reshape((-1, width), name="patches")(x)
    x = Tokens(init, name="patch_embedding")(x)
    for index in range(depth):
        x = block(x, f"block{index + 1:02d}")
    x = layers.LayerNormalization(epsilon=1e-6, name="final_norm")(x)
    x = x[:, 0]
    x = layers.Identity(name="class_token")(x)
    return keras.Model(images, dense(x, n_classes, "output"), name="vit")


def approximate_weights(width: int, depth: int) -> int:
    """An estimate of the number of weights, from the attention and the MLP of every block."""
    return 12 * depth * width**2
