"""Layers: KerasCV's augmentations as plain functions, whose random numbers are fed.

KerasCV draws from generators and random ops that hold a state, and a stopped run could not go on
where they stood. Here each layer is traced once with its random numbers as inputs: its graph holds
no random op any more, and numpy draws in their place from a generator that the caller keys. The
graphs run on the processor, on any Keras backend, and are kept, for tracing one takes seconds.
"""

import contextlib
import functools

import numpy as np

RANGE = (0, 255)
STDDEV = 0.15  # of RandAugment's magnitude; KerasCV's default
RATE = 10 / 11  # Source: Cubuk et al. 2020, whose eleventh operation is to do nothing


def libraries(names):
    """TensorFlow and KerasCV, when a policy needs them; an ImportError where one is missing."""
    try:
        import tensorflow
        import keras_cv  # isort: skip  (without TensorFlow it fails with another error)
    except ImportError as error:
        raise ImportError(
            f"the policy {'+'.join(names)} needs KerasCV and TensorFlow, on every Keras backend. "
            "Install both (pip install keras-cv tensorflow), or choose 'none'"
        ) from error
    import keras

    if keras.backend.backend() != "tensorflow":
        # it would take the accelerator's memory from the backend that trains
        with contextlib.suppress(RuntimeError):  # too late: it was used before
            tensorflow.config.set_visible_devices([], "GPU")
    return tensorflow, keras_cv


@functools.cache
def rand_augment(shape, magnitude, n_ops, geometric):
    """KerasCV's RandAugment with the operations that suit grey images.

    Args:
        shape: (h, w, c) of the images, float32 in 0 … 255.
        magnitude, n_ops, geometric: see `rin.pretraining.policies.Policy`.

    Returns:
        A function of (images, labels, rng) to (images, labels), numpy arrays.
    """
    tf, keras_cv = libraries(["rand_augment"])
    from rin.devices import computing_in

    draws = _Draws(tf)
    with computing_in("float32"):  # bfloat16 has no place for 256 greys
        operations = _operations(keras_cv, magnitude, geometric)
        pipeline = keras_cv.layers.RandomAugmentationPipeline(operations, n_ops, RATE, seed=1)
    for layer in (pipeline, pipeline._random_choice, *operations):
        _redirect(layer, draws)

    def one(image_and_uniforms):
        draws.begin(image_and_uniforms[1])
        return pipeline(image_and_uniforms[0])

    @tf.function(input_signature=[tf.TensorSpec((None, *shape)), tf.TensorSpec((None, None))])
    def batch(images, uniforms):
        return [tf.map_fn(one, (images, uniforms), fn_output_signature=tf.TensorSpec(shape))]

    with tf.device("CPU"):
        traced = batch.get_concrete_function()

    def apply(images, labels, rng):
        uniforms = rng.random((len(images), draws.n), dtype=np.float32)
        return *_run(tf, traced, images, uniforms), labels

    return apply


@functools.cache
def mixing(name, shape, n_classes, alpha):
    """KerasCV's MixUp or CutMix.

    Args:
        name: "mix_up" or "cut_mix".
        shape: (h, w, c) of the images, float32.
        n_classes: columns of the labels.
        alpha: of the beta distribution, > 0.

    Returns:
        A function of (images, labels, rng) to (images, labels), numpy arrays.
    """
    tf, keras_cv = libraries([name])
    from rin.devices import computing_in

    with computing_in("float32"):
        layer = {"mix_up": keras_cv.layers.MixUp, "cut_mix": keras_cv.layers.CutMix}[name](seed=1)

    def batch(images, labels):
        tf.random.set_seed(0)  # of this graph alone: op determinism asks for one
        return layer({"images": images, "labels": labels})

    with tf.device("CPU"):
        specs = [tf.TensorSpec((None, *shape)), tf.TensorSpec((None, n_classes))]
        whole = tf.compat.v1.wrap_function(batch, specs)
    # what the random ops would have drawn becomes an input
    random = [op for op in whole.graph.get_operations() if op.type.startswith("Random")]
    fetched = [whole.structured_outputs[key] for key in ("images", "labels")]
    traced = whole.prune([*whole.inputs, *(op.outputs[0] for op in random)], fetched)
    draw = {"mix_up": _blends, "cut_mix": _squares}[name]

    def apply(images, labels, rng):
        return _run(tf, traced, images, labels, *draw(rng, len(images), shape[0], alpha))

    return apply


def _operations(keras_cv, magnitude, geometric):
    """RandAugment's operations, as strong as KerasCV's own policy has them."""
    make, options = keras_cv.layers, {"seed": 1}  # without one TensorFlow's generator is touched
    strength = keras_cv.core.NormalFactorSampler(magnitude, STDDEV, min_value=0, max_value=1)
    operations = [
        make.AutoContrast(RANGE, **options),
        make.Equalization(RANGE, **options),
        make.RandomContrast(RANGE, max(magnitude, 0.001), **options),  # KerasCV refuses 0
        make.RandomBrightness(magnitude, RANGE, **options),
    ]
    # as the affine map does; KerasCV would mirror what lies at the border
    options["fill_mode"] = "nearest"
    moving = [
        make.RandomShear(x_factor=strength, **options),
        make.RandomShear(y_factor=strength, **options),
        make.RandomTranslation(height_factor=0, width_factor=magnitude, **options),
        make.RandomTranslation(height_factor=magnitude, width_factor=0, **options),
    ]
    return operations + moving if geometric else operations


class _Draws:
    """Stands in for the generator of KerasCV's layers and hands out numbers that are fed.

    Each place of the traced graph that asks gets a column of its own, so that what an image gets
    does not depend on the order in which images are worked on.
    """

    def __init__(self, tf):
        self.tf = tf

    def begin(self, uniforms):
        """Hand out from this `(k,)` tensor in 0 … 1, from its start."""
        self.uniforms, self.n = uniforms, 0

    def uniform(self, shape, minval=0.0, maxval=1.0, dtype="float32"):
        """As `tf.random.Generator.uniform`, the same number all over `shape`."""
        drawn = minval + self._next() * float(maxval - minval)
        return self.tf.cast(self.tf.fill(shape, drawn), dtype)

    def sample(self, factor, shape=(), dtype="float32"):
        """As a KerasCV factor sampler with this config."""
        if "mean" not in factor:
            return self.uniform(shape, factor["lower"], factor["upper"], dtype)
        drawn = factor["mean"] + factor["stddev"] * self.tf.math.ndtri(self._next())
        drawn = self.tf.clip_by_value(drawn, factor["min_value"], factor["max_value"])
        return self.tf.cast(self.tf.fill(shape, drawn), dtype)

    def _next(self):
        self.n += 1
        return self.uniforms[self.n - 1]


def _redirect(layer, draws):
    """Let a KerasCV layer ask `draws` for all its random numbers."""
    layer._random_generator = draws  # KerasCV's documented place for it
    for name, value in list(vars(layer).items()):
        if hasattr(value, "get_config") and {"mean", "lower"} & set(value.get_config()):
            setattr(layer, name, functools.partial(draws.sample, value.get_config()))


def _blends(rng, n, side, alpha):
    """What MixUp draws: an order, and two gammas; an image keeps the first's share of their sum."""
    order, kept = rng.permutation(n), rng.beta(alpha, alpha, n).astype(np.float32)
    return order.astype(np.int32), kept, 1 - kept


def _squares(rng, n, side, alpha):
    """What CutMix draws: as `_blends`, then the rows and the columns of the squares' centers.

    KerasCV draws centers anywhere, cuts off what reaches beyond the border and counts it in the
    label all the same. Squares that lie within the image have the share that the label says.
    """
    order = rng.permutation(n).astype(np.int32)
    cut = np.floor(np.sqrt(1 - rng.beta(alpha, alpha, n)) * side).clip(max=side - 1)
    # half a pixel more: KerasCV, which truncates, is then certain to find the same side
    kept = (1 - ((cut + 0.5) / side) ** 2).astype(np.float32)
    centers = [cut // 2 + rng.integers(0, side - cut + 1) for _ in range(2)]
    return order, kept, 1 - kept, *(center.astype(np.int32) for center in centers)


def _run(tf, traced, *arrays):
    """What a traced function makes of numpy arrays on the processor, as numpy arrays."""
    with tf.device("CPU"):
        return [tensor.numpy() for tensor in traced(*[tf.constant(array) for array in arrays])]
