"""Grad-CAM in closed form: one forward pass gives the maps of all classes, on any backend.

Between the last convolutional map A `(h, w, K)` and the dense classifier stands only pooling or a
flatten layer, so the gradient that Grad-CAM averages is known without a backward pass. With a
class's signed map M_c = Σ_k w_kc A_k:

* the logit behind global average pooling has d logit_c / d A_ijk = w_kc / (h w) everywhere, so
  Grad-CAM's weight of channel k is w_kc / (h w) and its map, before ReLU, is M_c / (h w);
* behind a flatten layer the gradient at a position is the dense weight of this position, so the
  weight of a channel is the mean of its weights over the positions, and the map M_c of those;
* through a softmax the gradient is p_c (w_kc − Σ_j p_j w_kj), which for two classes is
  p_c (1 − p_c) (w_kc − w_ko) with o the other class: a map proportional to M_c − M_o;
* through a sigmoid it is p_c (1 − p_c) w_kc: a map proportional to M_c, as the logit's.

A map is divided by its own maximum before it is shown, so a positive factor says nothing and is
left out: 1 / (h w) does not matter, and p_c (1 − p_c) does harm, for where p_c is 1 in float32 it
is 0 and autodiff's map blank, however sure the network is.

Source: Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74
"""

import weakref

import keras
import numpy as np

from rin.gradcam import choices

CLASSIFIER = "classifier"
# What may lie between the maps and the classifier; dropout does nothing outside training.
PASSED = (keras.layers.Dropout, keras.layers.GlobalAveragePooling2D, keras.layers.Flatten)
_companions = weakref.WeakKeyDictionary()  # tracing a backbone takes seconds: once a model


def cam(model, images, class_index, of="probability", batch_size=32):
    """Grad-CAM maps at image size (statistics.md, section 12).

    The default target is the probability: the paper's is "output layer", which here ends in a
    softmax. A logit's map also changes when the same numbers are added to the weights of every
    class, though no prediction does; the probability's does not.

    Args:
        model: a functional `keras.Model` whose last layer is a dense one named "classifier",
            behind global average pooling or a flatten layer, as `rin.backbones.build` makes it.
        images: `(n, h, w, channels)`, exactly what the model takes: preprocessed float32.
        class_index: which class's map; an int, or `(n,)` ints, one an image.
        of: "probability", or "logit" for what comes before the softmax. With a sigmoid the two
            maps are the same.
        batch_size: images that go through the network at once.

    Returns:
        `(n, h, w)` uint8, 0–255: ReLU, bilinear upsampling, each map over its own maximum. A map
        without a positive value is 0 everywhere.

    Raises:
        ValueError: the model has another form, or an argument does not fit it.
    """
    found = signed_maps(model, images, class_index, of, batch_size)
    return choices.to_cam(found, np.shape(images)[1:3])


def signed_maps(model, images, class_index, of="probability", batch_size=32):
    """The maps behind `cam`: low resolution, before ReLU, up to a positive factor an image.

    Args:
        model, images, class_index, of, batch_size: as `cam` takes them.

    Returns:
        `(n, h', w')` float32 at the size of the last convolutional map.

    Raises:
        ValueError: as `cam`.
    """
    images = _checked_images(model, images)
    n_classes = model.get_layer(CLASSIFIER).units
    which = _checked_classes(class_index, len(images), n_classes)
    choices.check("of", of, choices.TARGETS)
    if batch_size < 1:
        raise ValueError(f"`batch_size` should be at least 1. Received: {batch_size!r}")
    size = tuple(cam_tensor(model).shape[1:3])
    if not len(images):
        return np.zeros((0, *size), np.float32)
    maps, logits = _in_batches(_companion(model), images, batch_size)
    own = np.take_along_axis(maps, which[:, None, None, None], axis=3)[..., 0]
    if of == "logit" or _activation(model) == "sigmoid":
        return own
    return own - np.einsum("nhwc,nc->nhw", maps, _among_others(logits, which))


def with_maps(model):
    """A model that gives maps and scores in one pass; it shares the other's weights.

    Args:
        model: as `cam` takes it.

    Returns:
        `keras.Model` from images to `[maps, scores]`: `(n, h', w', n_classes)` signed maps M_c as
        `ClassMaps` gives them, and what the model gives.
    """
    return keras.Model(model.input, [_maps(model), model.output], name=f"{model.name}_maps")


def cam_tensor(model):
    """What pooling or flattening takes: the last convolutional map before the classifier.

    For the four backbones it is the output of `rin.backbones.BACKBONES[...].cam_layer`.

    Args:
        model: as `cam` takes it.

    Returns:
        KerasTensor `(None, h, w, K)`.

    Raises:
        ValueError: no dense layer "classifier", or more than `PASSED` between it and the maps.
    """
    tensor = _classifier(model).input
    while len(tensor.shape) != 4:
        layer, node, _ = tensor._keras_history
        if not isinstance(layer, PASSED):
            names = ", ".join(kind.__name__ for kind in PASSED)
            raise ValueError(
                f"`model` should have only {names} between its last 4-d tensor and {CLASSIFIER!r}."
                f" Received: {type(layer).__name__} {layer.name!r}"
            )
        (tensor,) = layer._inbound_nodes[node].input_tensors
    return tensor


def class_weights(kernel, shape):
    """The weight of every channel in every class's map.

    Args:
        kernel: of the dense classifier: `(K, n_classes)` behind pooling, `(h·w·K, n_classes)`
            behind a flatten layer.
        shape: `(h, w, K)` of the last convolutional map.

    Returns:
        `(K, n_classes)`, tensor or array as `kernel` is: the kernel itself, or the mean over
        positions.

    Raises:
        ValueError: the kernel belongs to maps of another shape.
    """
    n_inputs, n_classes = kernel.shape
    if n_inputs == shape[-1]:
        return kernel
    if n_inputs != np.prod(shape):
        raise ValueError(
            f"`kernel` should have {shape[-1]} or {np.prod(shape)} rows for maps of shape "
            f"{tuple(shape)}. Received: {n_inputs}"
        )
    ops = np if isinstance(kernel, np.ndarray) else keras.ops
    return ops.mean(ops.reshape(kernel, (-1, shape[-1], n_classes)), axis=0)


def class_maps(features, kernel):
    """Signed maps of features that are at hand already, as in a view bank.

    Args:
        features: `(n, h, w, K)` array, the last convolutional map.
        kernel: array as `class_weights` takes it.

    Returns:
        `(n, h, w, n_classes)` float32: M_c = Σ_k w_kc A_k.
    """
    weights = class_weights(np.asarray(kernel, np.float32), features.shape[1:])
    return np.tensordot(np.asarray(features, np.float32), weights, axes=1)


class ClassMaps(keras.layers.Layer):
    """Signed maps of all classes, from the last convolutional map and the classifier's weights.

    Args:
        classifier: a built dense layer; its weights are read at every call, so what training
            assigns later counts.
    """

    def __init__(self, classifier, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.classifier = classifier

    def call(self, features):
        """`(n, h, w, K)` to `(n, h, w, n_classes)` float32."""
        features = keras.ops.cast(features, "float32")
        return keras.ops.matmul(features, class_weights(self._kernel(), features.shape[1:]))

    def _kernel(self):
        return keras.ops.cast(self.classifier.kernel, "float32")


class Logits(ClassMaps):
    """What the classifier gives before its softmax or sigmoid, from what it takes."""

    def call(self, pooled):
        """`(n, k)` to `(n, n_classes)` float32."""
        logits = keras.ops.matmul(keras.ops.cast(pooled, "float32"), self._kernel())
        return logits + self.classifier.bias if self.classifier.use_bias else logits


def _companion(model):
    """The model that gives `[maps, logits]`, made and traced once.

    It holds layers of the model but not the model itself, so that both can be forgotten.
    """
    if model not in _companions:
        from rin.training import jit_compile  # which itself asks for maps

        classifier = _classifier(model)
        outputs = [_maps(model), Logits(classifier)(classifier.input)]
        companion = keras.Model(model.input, outputs)
        companion.compile(jit_compile=jit_compile())
        _companions[model] = companion
    return _companions[model]


def _in_batches(companion, images, batch_size):
    """What the companion gives for all images. Batches are of one size, so that it is traced once.

    Keras's `predict` builds a pipeline a call, which made it slower by a third on two cores.
    """
    batch_size, found = min(batch_size, len(images)), []
    for at in range(0, len(images), batch_size):
        rows = np.arange(at, at + batch_size) % len(images)  # the last batch is filled from the top
        found.append(companion.predict_on_batch(images[rows]))
    return [np.concatenate(parts)[: len(images)] for parts in zip(*found, strict=True)]


def _maps(model):
    return ClassMaps(_classifier(model), name="class_maps")(cam_tensor(model))


def _classifier(model):
    layers = [layer for layer in model.layers if layer.name == CLASSIFIER]
    if not layers or not isinstance(layers[0], keras.layers.Dense):
        names = [layer.name for layer in model.layers[-3:]]
        raise ValueError(
            f"`model` should have a dense layer {CLASSIFIER!r}, as rin.backbones.build makes it. "
            f"Received: {model.name!r}, which ends in {names}"
        )
    return layers[0]


def _activation(model):
    activation = keras.activations.serialize(_classifier(model).activation)
    choices.check("activation of the classifier", activation, choices.ACTIVATIONS)
    return activation


def _among_others(logits, which):
    """Each class's share of the probability that the chosen class leaves; 0 for the chosen one.

    M_c − Σ_j p_j M_j = (1 − p_c) (M_c − Σ_j≠c q_j M_j) with q_j = p_j / (1 − p_c). From logits q
    is exact where p_c is 1; the factor before it is left out.
    """
    others = logits.astype(float)
    np.put_along_axis(others, which[:, None], -np.inf, axis=1)
    others = np.exp(others - others.max(axis=1, keepdims=True))
    return (others / others.sum(axis=1, keepdims=True)).astype(np.float32)


def _checked_images(model, images):
    images, shape = np.asarray(images), tuple(model.input_shape)
    fits = images.ndim == len(shape) and all(
        wanted in (None, got) for wanted, got in zip(shape[1:], images.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join(["n", *(str(side or "any") for side in shape[1:])])
        raise ValueError(f"`images` should be of shape ({wanted}). Received: {images.shape}")
    return images


def _checked_classes(class_index, n, n_classes):
    found = np.asarray(class_index)
    fits = found.dtype.kind in "iu" and found.shape in ((), (n,))
    if not fits or ((found < 0) | (found >= n_classes)).any():
        raise ValueError(
            f"`class_index` should be an int in 0 … {n_classes - 1}, or one for each of the "
            f"{n} images. Received: class_index={class_index!r}"
        )
    return np.broadcast_to(found, n).astype(np.int64)
