"""The pixel ingredients that phantoms share: soft edges, noise, speckle and grey levels."""

import numpy as np
from scipy.ndimage import gaussian_filter


def soft_step(x, width):
    """A step from 0 to 1 at `x = 0` with a soft edge.

    Args:
        x: array of signed distances to the edge, positive inside.
        width: float > 0, the edge's width in the units of `x`.

    Returns:
        Array of the same shape in [0, 1].
    """
    return 0.5 * (1 + np.tanh(x / width))


def bump(x, width):
    """A Gaussian bump of height 1 at `x = 0`; `width` is its standard deviation."""
    return np.exp(-0.5 * (x / width) ** 2)


def smooth_noise(rng, shape, sigma):
    """Gaussian noise with a chosen grain.

    Args:
        rng: `numpy.random.Generator`.
        shape: tuple of ints.
        sigma: float or one float per axis, the grain in pixels.

    Returns:
        Float array of `shape` with mean 0 and SD 1.
    """
    noise = gaussian_filter(rng.standard_normal(shape), sigma, mode="reflect")
    return (noise - noise.mean()) / (noise.std() + 1e-12)


def speckle(rng, shape, sigma):
    """Correlated Rayleigh speckle: the magnitude of a filtered complex Gaussian field.

    Args:
        rng: `numpy.random.Generator`.
        shape: `(height, width)`.
        sigma: float or one float per axis, the speckle's grain in pixels.

    Returns:
        `(height, width)` floats > 0 with mean about 1, to multiply an echo by.

    Source: Burckhardt 1978, doi:10.1109/T-SU.1978.30978
    """
    real, imaginary = smooth_noise(rng, shape, sigma), smooth_noise(rng, shape, sigma)
    return np.hypot(real, imaginary) / np.sqrt(np.pi / 2)


def tone(image, mean, sd):
    """Give an image a chosen brightness and contrast, as whole grey levels.

    Classes then differ in what is seen where, not in overall brightness. Clipping at black and
    white moves both numbers, so the map is applied until they settle.

    Args:
        image: float array.
        mean: float, the wanted mean grey level.
        sd: float, the wanted standard deviation in grey levels.

    Returns:
        uint8 array of the same shape, 0 to 255.
    """
    for _ in range(4):
        image = (image - image.mean()) / (image.std() + 1e-12) * sd + mean
        image = np.clip(image, 0, 255)
    return np.rint(image).astype(np.uint8)
