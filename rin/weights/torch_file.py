"""PyTorch files: read the tensors of a state dict without running what else is in it."""

import pickle
from pathlib import Path

import numpy as np

from rin.weights.report import WeightsError

STATE_DICTS = ("state_dict", "model", "model_state_dict")  # where training scripts put it
COUNTER = "num_batches_tracked"  # Keras has none, and no output depends on it


def read(path):
    """The tensors of a PyTorch file; objects and code in it are refused, never run.

    Args:
        path: a state dict that `torch.save` wrote, bare or under one of `STATE_DICTS`; what else
            lies beside it there (epoch, optimizer) is passed over.

    Returns:
        `{name: float32 array}`, each name behind its wrapper's ("state_dict.conv1.weight");
        batch norm's counters are left out.

    Raises:
        WeightsError: torch is not installed, or the file is damaged, holds more than tensors, or
            a tensor is not finite.
    """
    path = Path(path)
    content = _state_dict(_load(path), path.name)
    return {
        name: _array(value, name, path.name)
        for name, value in content.items()
        if str(name).rpartition(".")[2] != COUNTER
    }


def _load(path):
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path.name}: reading a PyTorch file needs torch: "
            "pip install -r requirements-torch.lock"
        ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "GLOBAL" in str(error):  # how pickle names a class or a function to call
            raise WeightsError(
                f"{path.name}: holds objects or code beside tensors, which is not run; save "
                "model.state_dict() alone"
            ) from error
        raise WeightsError(f"{path.name}: damaged, or not a PyTorch state dict") from error
    except Exception as error:  # damaged bytes make torch raise nearly anything
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path.name}: damaged, or not a PyTorch state dict: {reason}"
        ) from error


def _state_dict(content, file_name):
    if not isinstance(content, dict):
        raise WeightsError(
            f"{file_name}: a state dict is expected. Received: {type(content).__name__}"
        )
    inner = [key for key in STATE_DICTS if isinstance(content.get(key), dict)]
    if len(inner) > 1:
        raise WeightsError(f"{file_name}: several state dicts in it, {inner}: keep one")
    if inner:
        return {f"{inner[0]}.{name}": value for name, value in content[inner[0]].items()}
    return content


def _array(value, name, file_name):
    import torch

    if not (isinstance(value, torch.Tensor) and value.is_floating_point()):
        came = getattr(value, "dtype", type(value).__name__)
        raise WeightsError(f"{file_name}: {name!r} is {came}; tensors of floats are expected")
    try:
        array = value.detach().to(torch.float32).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # sparse, or without values
        raise WeightsError(f"{file_name}: {name} is no plain tensor: {error}") from error
    if not np.isfinite(array).all():
        raise WeightsError(f"{file_name}: {name} holds values that are not finite")
    return array
