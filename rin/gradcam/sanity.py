"""Sanity check of maps: they should change when a network's weights are lost, layer by layer."""

import contextlib

import keras
import numpy as np
import pandas as pd

from rin.gradcam import closed_form

COLUMNS = ["step", "n_layers", "similarity", "n_blank", "n_images"]


def randomized(model, images, class_index, steps=4, seed=0, of="probability", batch_size=32):
    """How like the original maps are once layers are initialized anew, from the top down.

    The first step does so to the classifier, each further one to the next layers below as well,
    until the last one has reached the whole network. A method whose maps stay alike shows the
    image, not what the network learned.

    Args:
        model, images, class_index, of, batch_size: as `rin.gradcam.closed_form.cam` takes them.
        steps: cascading steps, 2 to the number of layers with weights, or 1 for the classifier
            alone.
        seed: of the new weights, which each layer's own initializers draw.

    Returns:
        DataFrame, one row a step, step 0 being the network as it came: `step`; `n_layers`, layers
        initialized anew so far; `similarity`, Spearman's rank correlation of an image's map after
        ReLU with the original one, over its positions, averaged over images, in [−1, 1]; `n_blank`,
        images left out of it, for one of both maps is the same everywhere; `n_images`, all of them.
        All blank: NaN.

    Raises:
        ValueError: `steps` does not fit the network, or another argument `cam` would not take.

    Source: Adebayo et al. 2018, doi:10.48550/arXiv.1810.03292
    """

    def maps():
        found = closed_form.signed_maps(model, images, class_index, of, batch_size)
        return np.maximum(found, 0).reshape(len(found), -1)

    parts, original = _parts(model, steps), maps()
    rows, n_layers = [(0, 0, *_likeness(original, original))], 0
    with _restored(model):
        for step, layers in enumerate(parts, start=1):
            for layer in layers:
                _initialize(layer, seed=[seed, n_layers])
                n_layers += 1
            rows.append((step, n_layers, *_likeness(original, maps())))
    return pd.DataFrame(rows, columns=COLUMNS)


def _parts(model, steps):
    """Layers with weights from the top down: the classifier, then as many to each step."""
    closed_form.cam_tensor(model)  # says what is wrong with a model that has no classifier
    layers = [o for o in reversed(model.operations) if isinstance(o, keras.Layer) and o.weights]
    if not 1 <= steps <= len(layers):
        raise ValueError(f"`steps` should be in 1 … {len(layers)}. Received: steps={steps!r}")
    if steps == 1:
        return [layers[:1]]
    below = np.array_split(np.arange(1, len(layers)), steps - 1)
    return [layers[:1], *([layers[i] for i in part] for part in below)]


def _initialize(layer, seed):
    """Assign a layer's weights what its own initializers give, with seeds of ours."""
    draws = np.random.default_rng(seed)
    for variable in layer.weights:
        initializer = keras.initializers.get(getattr(layer, f"{variable.name}_initializer"))
        config = initializer.get_config()
        if "seed" in config:
            config["seed"] = int(draws.integers(2**31))
        variable.assign(type(initializer).from_config(config)(variable.shape, variable.dtype))


@contextlib.contextmanager
def _restored(model):
    """The weights come back, whatever happens."""
    before = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(before)


def _likeness(original, changed):
    """(mean rank correlation, images without one, all images)."""
    from scipy.stats import spearmanr

    flat = (np.ptp(original, axis=1) == 0) | (np.ptp(changed, axis=1) == 0)
    pairs = zip(original[~flat], changed[~flat], strict=True)
    found = [float(spearmanr(a, b).statistic) for a, b in pairs]
    return (float(np.mean(found)) if found else np.nan), int(flat.sum()), len(flat)
