"""Devices: which there are, one batch spread over several, and the precision they compute in."""

import contextlib

import keras

PRECISIONS = ("float32", "mixed_bfloat16")


def found():
    """Names of this machine's accelerators; of its CPU devices where it has none."""
    return keras.distribution.list_devices()


def accelerated():
    """Whether TensorFlow or JAX has an accelerator."""
    known = keras.backend.backend() in ("tensorflow", "jax")
    return known and not any(name.startswith("cpu") for name in found())


def spread(n):
    """How networks are built and trained on several devices.

    Every device holds all weights and gets an equal part of each batch; gradients are averaged
    over the batch. On TensorFlow (`MirroredStrategy`) a batch norm sees its own device's part
    alone, moving averages are averaged over the devices and dropout draws the same mask on each;
    on JAX (`DataParallel`) all of it is as on one device, but for rounding.

    Args:
        n: devices; 1 is the default device.

    Returns:
        A function without arguments that makes a context for building, fitting and predicting.

    Raises:
        ValueError: there are fewer devices, or the backend can't spread a batch.
    """
    if n == 1:
        return contextlib.nullcontext
    backend = keras.backend.backend()
    if n > 1 and backend not in ("tensorflow", "jax"):
        raise ValueError(f"`devices` should be 1 on {backend}. Received: devices={n!r}")
    names = found()
    if not 1 <= n <= len(names):
        has = f"this machine has {len(names)} ({', '.join(names)})"
        raise ValueError(f"`devices` should be 1 … {len(names)}: {has}. Received: devices={n!r}")
    if backend == "jax":
        return keras.distribution.DataParallel(devices=names[:n]).scope
    import tensorflow

    return tensorflow.distribute.MirroredStrategy(names[:n]).scope


@contextlib.contextmanager
def computing_in(precision):
    """A context in which layers are made with this precision; the old one comes back after it.

    Args:
        precision: one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` should be one of {PRECISIONS}. Received: precision={precision!r}"
        )
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
