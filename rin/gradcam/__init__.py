"""Grad-CAM: where a network looks, without a gradient, and how much of it is the lesion."""

from rin.gradcam.overlap import dice

__all__ = ["cam", "dice"]


def cam(model, images, class_index, of="probability", batch_size=32):
    """Grad-CAM maps at image size; what they are is told in `rin.gradcam.closed_form`.

    Args:
        model, images, class_index, of, batch_size: as `rin.gradcam.closed_form.cam` takes them:
            a model of `rin.backbones.build`, `(n, h, w, channels)` images exactly as it takes
            them, a class or `(n,)` of them, and "probability" or "logit".

    Returns:
        `(n, h, w)` uint8, 0–255.

    Raises:
        ValueError: the model has another form, or an argument does not fit it.
    """
    from rin.gradcam import closed_form  # Keras takes seconds; overlap with masks needs none of it

    return closed_form.cam(model, images, class_index, of, batch_size)
