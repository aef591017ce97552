"""Hashes that identify states of a model and sets of images."""

import hashlib

import keras
import numpy as np


def weights_hash(model: keras.Model) -> str:
    """SHA-256 of all weights of a model, in their order."""
    return arrays_hash(keras.ops.convert_to_numpy(weight.value) for weight in model.weights)


def arrays_hash(arrays) -> str:
    """SHA-256 of arrays: their dtypes, shapes and bytes."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(memoryview(array.reshape(-1).view(np.uint8)))
    return digest.hexdigest()
