"""Keyed random generators, class counts and image shapes for the phantoms."""

import numpy as np

ASPECTS = (0.7, 1.0)  # height / width of an image, the same for every class


def generator(seed, *key):
    """A random generator that depends on its key alone, not on order or process.

    Args:
        seed: int >= 0.
        *key: strings or ints naming what is drawn, for example `("breast", "benign", 3)`.

    Returns:
        `numpy.random.Generator`.
    """
    text = "/".join(str(part) for part in key)
    return np.random.default_rng([seed, *text.encode()])


def apportion(n, shares, least=1):
    """Split `n` images by shares, largest remainder first.

    Args:
        n: int, images in all; at least `least` for each name.
        shares: dict of name to weight > 0; the weights need not sum to one.
        least: int, the fewest images any name gets.

    Returns:
        Dict of name to int, summing to `n`.

    Raises:
        ValueError: `n` is too small.

    >>> apportion(10, {"a": 2, "b": 1})
    {'a': 7, 'b': 3}
    """
    if n < least * len(shares):
        raise ValueError(f"`n` should be at least {least * len(shares)}. Received: n={n!r}")
    exact = {name: n * weight / sum(shares.values()) for name, weight in shares.items()}
    counts = {name: max(least, int(value)) for name, value in exact.items()}
    while sum(counts.values()) != n:
        step = 1 if sum(counts.values()) < n else -1
        movable = [name for name in counts if counts[name] + step >= least]
        name = max(movable, key=lambda name: step * (exact[name] - counts[name]))
        counts[name] += step
    return counts


def image_shape(rng, size):
    """Draw the height and width of one image.

    Args:
        rng: `numpy.random.Generator`.
        size: int, typical longest side in pixels; drawn within 10 % of it.

    Returns:
        `(height, width)` ints.
    """
    width = size * rng.uniform(0.9, 1.1)
    return round(width * rng.uniform(*ASPECTS)), round(width)
