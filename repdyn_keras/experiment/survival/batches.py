"""Batches and random states that depend only on seed and epoch, so that resuming is exact."""

import keras
import numpy as np

from repdyn_keras import seeds
from repdyn_keras.datasets import Data, keep_tensorflow_off_gpus
from repdyn_keras.recording.values import is_seed_state


class EpochBatches(keras.utils.PyDataset):
    """The training images in a new random order each epoch, in batches of one size.

    The images after the last whole batch of an epoch are left out; they differ between epochs.
    `EpochSeeds` sets `epoch`, since Keras counts differently in a resumed training.

    Args:
        data: the data set.
        batch_size: images in a batch; reduced to the number of images if that is smaller.
        seed: seed of the orders and the augmentation.
        augment: whether to crop (after padding by 1/8 of the side) and flip at random.
    """

    def __init__(self, data: Data, batch_size: int, seed: int, augment: bool):
        super().__init__(workers=1)
        self.data = data
        self.size = min(batch_size, len(data.x_train))
        self.seed = seed
        self.augment = augment
        self.set_epoch(0)

    @property
    def num_batches(self) -> int:
        """Number of batches in an epoch."""
        return len(self.data.x_train) // self.size

    def set_epoch(self, epoch: int) -> None:
        """Draws the order of the images in an epoch."""
        self.epoch = epoch
        rng = seeds.epoch_generator(self.seed, epoch)
        self.order = rng.permutation(len(self.data.x_train))

    def __getitem__(self, index):
        chosen = self.order[index * self.size : (index + 1) * self.size]
        images = self.data.x_train[chosen]
        if self.augment:
            rng = seeds.epoch_generator(self.seed, self.epoch, index)
            images = cropped_and_flipped(images, rng)
        return images, self.data.y_train[chosen]


def cropped_and_flipped(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random crops of images padded by 1/8 of their side; half of them are flipped horizontally.

    The padding is 0, the mean of standardized pixels.

    Source: the usual augmentation of CIFAR-10 (4 of 32 pixels), as in Nakkiran et al. 2020
    (arXiv 1912.02292).

    Args:
        images: (n, height, width, channels).
        rng: random generator.
    """
    n, height, width, _ = images.shape
    pad_y, pad_x = max(1, height // 8), max(1, width // 8)
    padded = np.pad(images, ((0, 0), (pad_y, pad_y), (pad_x, pad_x), (0, 0)))
    top = rng.integers(0, 2 * pad_y + 1, n)
    left = rng.integers(0, 2 * pad_x + 1, n)
    rows = top[:, None, None] + np.arange(height)[None, :, None]
    columns = left[:, None, None] + np.arange(width)[None, None, :]
    cut = padded[np.arange(n)[:, None, None], rows, columns]
    flip = np.less(rng.random(n), 0.5)
    return np.where(flip[:, None, None, None], cut[:, :, ::-1], cut)


class EpochSeeds(keras.callbacks.Callback):
    """Sets all random states of an epoch as a function of seed and epoch.

    Args:
        batches: the training batches.
        seed: the run's seed.
    """

    def __init__(self, batches: EpochBatches, seed: int):
        super().__init__()
        self.batches = batches
        self.seed = seed

    def on_train_begin(self, logs=None):
        # `fit` imports TensorFlow if it is installed.
        keep_tensorflow_off_gpus(keras.backend.backend())

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.set_epoch(epoch)
        states = seeds.epoch_seeds(self.seed, epoch)
        generator_states = [v for v in self.model.non_trainable_variables if is_seed_state(v)]
        for variable, state in zip(
            generator_states, states.spawn(len(generator_states)), strict=True
        ):
            variable.assign(state.generate_state(2).astype(variable.dtype))
        if keras.backend.backend() == "torch":
            # Dropout on torch draws from the global generator.
            import torch

            torch.manual_seed(int(states.generate_state(1)[0]))
