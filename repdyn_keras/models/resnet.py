"""Pre-activation residual networks of width k for small images."""

import keras
from keras import layers

from repdyn_keras.models.build import seeded

# With Keras's default of 0.99, moving statistics lag by many epochs if an epoch has few steps.
BATCH_NORM_MOMENTUM = 0.9
# Counting stops at this number of weights, which exceeds the memory of any machine.
MAX_WEIGHTS = 2**60


def resnet(
    image_shape: tuple[int, int, int],
    n_classes: int,
    *,
    width: int = 64,
    blocks: tuple[int, ...] = (2, 2, 2, 2),
    stem: str = "small",
    seed: int = 0,
) -> keras.Model:
    """A pre-activation ResNet: `blocks=(2, 2, 2, 2)` is ResNet-18, `(3, 4, 6, 3)` ResNet-34.

    Stage i (from 0) has `blocks[i]` basic blocks of `width * 2**i` channels; every stage but the
    first halves the image. Every block ends in an `Add`, whose output is its representation.

    Source: He et al. 2016 (arXiv 1603.05027) for the blocks; He et al. 2016 (arXiv 1512.03385),
    table 1, for the numbers of blocks and the ImageNet stem; Nakkiran et al. 2020
    (arXiv 1912.02292) for the width, which is 64 in the standard network. The momentum 0.9 of
    BatchNormalization is a choice of this package.

    Args:
        image_shape: (height, width, channels) of the images.
        n_classes: number of classes; the output is (n, n_classes) logits.
        width: channels of the first stage.
        blocks: number of blocks of each stage.
        stem: "small" for a 3 x 3 convolution of stride 1, usual for small images, or "imagenet"
            for a 7 x 7 convolution and 3 x 3 max pooling, each of stride 2.
        seed: seed of the initial weights.

    Returns:
        A functional model with the named layers `stem`, `stage1_block1`, ..., `pooled`, `output`.
    """
    init = seeded(seed)

    def conv(x, filters, kernel, stride, name):
        return layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=init(),
            name=name,
        )(x)

    def norm_relu(x, name):
        x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
        return layers.ReLU(name=f"{name}_relu")(x)

    def block(x, filters, stride, name):
        activated = norm_relu(x, f"{name}_1")
        shortcut = x
        if stride != 1 or x.shape[-1] != filters:
            shortcut = conv(activated, filters, 1, stride, f"{name}_shortcut")
        y = conv(activated, filters, 3, stride, f"{name}_1_conv")
        y = conv(norm_relu(y, f"{name}_2"), filters, 3, 1, f"{name}_2_conv")
        return layers.Add(name=name)([shortcut, y])

    images = keras.Input(image_shape, name="images")
    if stem == "imagenet":
        x = conv(images, width, 7, 2, "stem_conv")
        x = layers.MaxPooling2D(3, 2, padding="same", name="stem")(x)
    else:
        x = conv(images, width, 3, 1, "stem")
    for stage, count in enumerate(blocks):
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            x = block(x, width * 2**stage, stride, f"stage{stage + 1}_block{index + 1}")
    x = norm_relu(x, "final")
    x = layers.GlobalAveragePooling2D(name="pooled")(x)
    logits = layers.Dense(n_classes, kernel_initializer=init("glorot_uniform"), name="output")(x)
    return keras.Model(images, logits, name="resnet")


def approximate_weights(width: int, blocks: tuple[int, ...]) -> int:
    """A lower bound of the number of weights, from most convolutions of the blocks."""
    total = 0
    for stage, count in enumerate(blocks):
        total += (2 * count - 1) * 9 * (width * 2**stage) ** 2
        if total > MAX_WEIGHTS:
            break
    return total
