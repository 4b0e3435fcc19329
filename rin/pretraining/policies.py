"""Policies: KerasCV's RandAugment, MixUp and CutMix, keyed like the affine map of `rin.augment`.

A batch depends on (seed, epoch, step) and what it is made of alone, whatever was asked for before
and in whichever thread, so a stopped run goes on with the very images that it would have seen.
"""

import numpy as np

from rin.pretraining import layers

SENTENCES = {
    "none": "Images and labels stay as they are.",
    "rand_augment": "A few operations, drawn for each image, change its contrast, brightness or "
    "geometry (Cubuk et al. 2020, doi:10.1109/CVPRW50498.2020.00359).",
    "mix_up": "Each image is blended with another of its batch, and its label in the same shares "
    "(Zhang et al. 2018, arXiv:1710.09412).",
    "cut_mix": "A square of each image is replaced by the same square of another of its batch, and "
    "its label by that share (Yun et al. 2019, doi:10.1109/ICCV.2019.00612).",
}
NAMES = tuple(SENTENCES)
# Operations of KerasCV's RandAugment that are left out, and why
LEFT_OUT = {
    "color": "it pulls three channels towards their mean, and those of a grey image are equal",
    "solarize": "it inverts the bright part alone: bone and air could get the same grey",
}
ALPHAS = {"mix_up": 0.2, "cut_mix": 1.0}  # of the beta distribution; Source: the two papers


class Policy:
    """What is done to each batch before the network sees it.

    Grey images are cheapest as one channel: about twice as fast as three equal ones, which stay
    equal. The first batch takes seconds more, to trace the graphs.

    Args:
        names: some of `NAMES`, in that order, as a sequence or joined by "+". Where both "mix_up"
            and "cut_mix" are named, each batch gets one of them, drawn evenly.
        n_classes: columns of the labels.
        image_size: height and width of the images, pixels.
        seed: int in 0 … 2**32 - 1.
        magnitude: of RandAugment, 0 … 1. 0.2 shears by 11 degrees on average, shifts by up to 20 %
            of the side and changes contrast by up to 20 %, brightness by up to 51 of 255.
        n_ops: operations of RandAugment an image; two, as Cubuk et al. trained ResNet50.
        alpha: of the beta distribution that mixing shares are drawn from; None: `ALPHAS`.
        geometric: whether RandAugment shears and shifts too. False where the affine map of
            `rin.augment` already moves the images.

    Raises:
        ValueError: an argument is not one of its choices.
        ImportError: KerasCV or TensorFlow, which it needs on every backend, is missing.
    """

    def __init__(
        self,
        names,
        n_classes,
        image_size,
        seed,
        magnitude=0.2,
        alpha=None,
        n_ops=2,
        geometric=True,
    ):
        self.names = parse(names)
        allowed = {
            "n_classes": (n_classes, n_classes >= 1, "at least 1"),
            "image_size": (image_size, image_size >= 1, "at least 1"),
            "seed": (seed, 0 <= seed < 2**32, "in 0 … 2**32 - 1"),
            "magnitude": (magnitude, 0 <= magnitude <= 1, "in 0 … 1"),
            "alpha": (alpha, alpha is None or alpha > 0, "above 0, or None"),
            "n_ops": (n_ops, n_ops >= 1, "at least 1"),
        }
        for name, (value, fits, expected) in allowed.items():
            if not fits:
                raise ValueError(f"`{name}` should be {expected}. Received: {name}={value!r}")
        self.n_classes, self.image_size, self.seed, self.alpha = n_classes, image_size, seed, alpha
        self._rand_augment = magnitude, n_ops, geometric
        if self.names:
            layers.libraries(self.names)  # a missing one is told now, not at the first batch

    def apply(self, images, labels, epoch, step):
        """One batch as the network should see it.

        Args:
            images: `(n, image_size, image_size, c)` float32 in 0 … 255, c 1 or 3.
            labels: `(n, n_classes)` float32, one-hot where they are mixed.
            epoch, step: ints >= 0, the batch's key beside the seed.

        Returns:
            (images, labels), float32 arrays of the same shapes and ranges.

        Raises:
            ValueError: another shape or type, or labels to mix that are not one-hot.
        """
        self._check(images, labels)
        # a counter-based generator, as in `rin.augment`
        key = np.array([(self.seed << 32) + epoch, step], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        for name in _chosen(self.names, rng):
            images, labels = self._layer(name, images.shape[-1])(images, labels, rng)
        return images, labels

    def _layer(self, name, n_channels):
        shape = (self.image_size, self.image_size, n_channels)
        if name == "rand_augment":
            return layers.rand_augment(shape, *self._rand_augment)
        return layers.mixing(name, shape, self.n_classes, self.alpha or ALPHAS[name])

    def _check(self, images, labels):
        side, n = self.image_size, len(images)
        shapes = [(n, side, side, n_channels) for n_channels in (1, 3)]
        if images.shape not in shapes or images.dtype != np.float32:
            raise ValueError(
                f"`images` should be (n, {side}, {side}, 1 or 3) float32. Received: "
                f"images of shape {images.shape}, {images.dtype}"
            )
        if labels.shape != (n, self.n_classes) or labels.dtype != np.float32:
            raise ValueError(
                f"`labels` should be ({n}, {self.n_classes}) float32, a column a class. Received: "
                f"labels of shape {labels.shape}, {labels.dtype}"
            )
        is_one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        if set(self.names) & set(ALPHAS) and not is_one_hot:
            raise ValueError(
                f"`labels` should be one-hot for {'+'.join(self.names)}: a single 1 a row (smooth "
                "labels in the loss). Received: labels with other rows"
            )


def parse(names):
    """Names of a policy as a tuple, () for none.

    Raises:
        ValueError: a name is unknown, named twice or out of order.

    >>> parse("rand_augment+cut_mix")
    ('rand_augment', 'cut_mix')
    """
    listed = names.split("+") if isinstance(names, str) else list(names)
    in_order = [name for name in NAMES if name in listed]
    if listed != in_order or ("none" in listed and len(listed) > 1):
        raise ValueError(
            f"`names` should be some of {NAMES[1:]}, once each and in this order, or 'none'. "
            f"Received: names={names!r}"
        )
    return tuple(name for name in listed if name != "none")


def describe(names):
    """One sentence a name, as a dict, for a page; see `Policy` for `names`."""
    return {name: SENTENCES[name] for name in parse(names) or ("none",)}


def examples(images, labels, names, seed=0, **options):
    """What a policy makes of a few images, for a page's grid: its first batch.

    Args:
        images: `(n, h, h)` uint8.
        labels: `(n, k)` one-hot.
        names, seed, options: as `Policy` takes them.

    Returns:
        `(n, h, h)` uint8.
    """
    labels = np.asarray(labels, dtype=np.float32)
    policy = Policy(names, labels.shape[1], images.shape[1], seed, **options)
    shown, _ = policy.apply(images[..., None].astype(np.float32), labels, epoch=0, step=0)
    return np.rint(shown[..., 0]).astype(np.uint8)


def _chosen(names, rng):
    """The names that hold for one batch: of two that mix, one."""
    left_out = rng.choice(list(ALPHAS)) if set(ALPHAS) <= set(names) else None
    return [name for name in names if name != left_out]
