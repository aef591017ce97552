"""Full float32 precision while recording: the settings of each backend, restored afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras


@contextmanager
def full_precision() -> Iterator[None]:
    """Computes float32 products in full inside the block, and leaves global random state alone.

    On NVIDIA GPUs a float32 product may otherwise run as TF32. Its error of about 3e-4 would look
    like a change of the representation.
    """
    scopes = {"jax": jax_scope, "tensorflow": tensorflow_scope, "torch": torch_scope}
    with scopes[keras.backend.backend()]():
        yield


@contextmanager
def jax_scope() -> Iterator[None]:
    """Matrix products in the highest precision."""
    import jax

    with jax.default_matmul_precision("highest"):
        yield


@contextmanager
def tensorflow_scope() -> Iterator[None]:
    """No TF32."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


@contextmanager
def torch_scope() -> Iterator[None]:
    """No TF32, no gradients; restores the global generators, which dropout draws from."""
    import torch

    precision = legacy_settings if has_legacy_settings() else backend_settings
    with precision(), torch.random.fork_rng(), torch.no_grad():
        # Dropout in training mode draws the same in every record.
        torch.manual_seed(0)
        yield


def has_legacy_settings() -> bool:
    """Whether torch's legacy precision settings can be read and are the only ones in use.

    Reading them may fail once the settings of torch 2.9 were used.
    """
    import torch

    try:
        torch.get_float32_matmul_precision()
        _ = torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return False
    return getattr(torch.backends, "fp32_precision", "none") == "none"


@contextmanager
def legacy_settings() -> Iterator[None]:
    """No TF32, by the settings of every version of torch."""
    import torch

    products = torch.get_float32_matmul_precision()
    convolutions = torch.backends.cudnn.allow_tf32
    if products != "highest":
        torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        if products != "highest":
            torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def backend_settings() -> Iterator[None]:
    """No TF32, by the settings of torch 2.9 and later."""
    import torch

    backends: Any = torch.backends  # torch creates attributes of it at run time
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    places = [cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.fp32_precision = value
