"""Feed: batches of grey uint8 images, augmented and preprocessed inside the network's graph."""

import math

import keras
import numpy as np

from rin import augment, backbones, devices
from rin.objectives import one_hot

RESIDENT_GIB = 4.0  # GiB of images that an accelerator keeps; CC-CCII at 256 px takes 3.6


class Batches(keras.utils.PyDataset):
    """One epoch of batches: what the network is fed, and one-hot classes.

    Args:
        data: a `rin.prepare.Data`.
        rows: `(n,)` ints, which images, in their order.
        batch_size: images a batch.
        ranges: a `rin.augment.Ranges`; None for the plain view, which has no maps.
        epoch, seed: key of the augmentation.
        resident: whether the device holds the images: row numbers are fed in their place.
    """

    def __init__(self, data, rows, batch_size, ranges=None, epoch=0, seed=0, resident=False):
        super().__init__()
        self.data, self.rows, self.batch_size = data, np.asarray(rows), batch_size
        self.ranges, self.epoch, self.seed, self.resident = ranges, epoch, seed, resident

    def __len__(self):
        return math.ceil(len(self.rows) / self.batch_size)

    def __getitem__(self, index):
        return self.shown(self.batch(index))

    def batch(self, index):
        """`(m,)` rows of one batch."""
        return self.rows[index * self.batch_size : (index + 1) * self.batch_size]

    def shown(self, rows):
        """`(images, classes)` or `((images, maps), classes)` of these rows."""
        images = rows.astype(np.int32) if self.resident else self.data.images[rows]
        y = one_hot(self.data.y[rows])
        if self.ranges is None:
            return images, y
        ids, size = self.data.image_ids[rows], self.data.images.shape[1]
        return (images, maps(self.ranges, ids, self.epoch, self.seed, size)), y


class Feed(keras.layers.Layer):
    """From `(n, h, w)` uint8 images to `(n, h, w, 3)` float32 model input.

    Called with images alone it shows them as stored; with `maps` (`(n, 8)` float32 from
    `rin.augment.matrices`) resampled first. What `rin.backbones.preprocess` does stands in two
    weights, so that one compiled network serves every preprocess. All of it is float32, whatever
    the network's precision.
    """

    def __init__(self, **options):
        super().__init__(trainable=False, dtype="float32", **options)
        if keras.backend.backend() == "tensorflow":
            self.supports_jit = False  # XLA knows no ImageProjectiveTransformV3

    def build(self, *shapes):
        """Make the two weights; `choose` gives them their values."""
        self.center = self.add_weight(shape=(3,), initializer="zeros", name="center")
        self.scale = self.add_weight(shape=(3,), initializer="ones", name="scale")
        self.built = True

    def call(self, images, maps=None):
        """See the class."""
        x = keras.ops.expand_dims(keras.ops.cast(images, "float32"), -1)
        if maps is not None:
            x = augment.apply(x, maps)
        return (keras.ops.repeat(x, 3, axis=-1) - self.center) / self.scale

    def choose(self, preprocess, backbone, init=None):
        """Set what the network is fed: see `rin.backbones.preprocess`."""
        center, scale = backbones.center_and_scale(preprocess, backbone, init)
        self.center.assign(center)
        self.scale.assign(scale)


class Resident(keras.layers.Layer):
    """From `(n,)` int32 row numbers to these rows of images that stay on the device.

    Args:
        images: `(m, h, w)` uint8; they go to the device when the layer is first called.
    """

    def __init__(self, images, **options):
        super().__init__(trainable=False, dtype="float32", **options)
        self._first = images

    def build(self, *shapes):
        """Put the images on the device."""
        first, self._first = self._first, None
        self.images = self.add_weight(
            shape=first.shape,
            dtype="uint8",
            initializer=lambda shape, dtype: keras.ops.convert_to_tensor(first, dtype),
            name="images",
        )
        self.built = True

    def call(self, rows):
        """See the class."""
        if keras.backend.backend() != "tensorflow":
            return keras.ops.take(self.images, rows, axis=0)
        import tensorflow

        # ResourceGather takes uint8 on a GPU; keras.ops.take reads the variable first, and that
        # gather does not: all images would travel to the processor for every batch
        return tensorflow.gather(self.images.value, rows)

    def compute_output_spec(self, rows):
        """`(n, h, w)` uint8."""
        return keras.KerasTensor((*rows.shape, *self.images.shape[1:]), dtype="uint8")


def is_resident(images, asked=None):
    """Whether images should stay on the device.

    Args:
        images: `(m, h, w)` uint8.
        asked: True or False decides; None: where there is an accelerator and they take at most
            `RESIDENT_GIB`. On a CPU the memory-mapped store already serves each batch.
    """
    if asked is None:
        return devices.accelerated() and images.nbytes <= RESIDENT_GIB * 2**30
    return asked


def inputs(image_size):
    """The two Keras inputs of an augmented batch: images `(h, w)` uint8 and maps `(8,)` float32."""
    images = keras.Input((image_size, image_size), dtype="uint8", name="images")
    return images, keras.Input((8,), dtype="float32", name="maps")


def maps(ranges, image_ids, epoch, seed, image_size):
    """`(n, 8)` float32 affine maps of one batch's augmentation; see `rin.augment`."""
    drawn = augment.draw(ranges, image_ids, epoch, seed)
    return augment.matrices(drawn, image_size, image_size)
