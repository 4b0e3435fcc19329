"""Two devices out of one processor: a test's code run in a process of its own."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SET_UP = """
import json, sys
import keras
if keras.backend.backend() == "tensorflow":
    import tensorflow
    processor, virtual = tensorflow.config.list_physical_devices("CPU")[0], tensorflow.config
    virtual.set_logical_device_configuration(processor, [virtual.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, {tests!r})
import tiny_network
from rin import backbones
backbones.BACKBONES["tiny"] = tiny_network.ROW
"""


def run(code, backend, *arguments):
    """What the code's `found` is at its end, as an array; skips where the backend is absent.

    Args:
        code: Python; `sys.argv[1:]` holds the arguments.
        backend: "tensorflow" or "jax".
        *arguments: strings.
    """
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs {backend}, which is not installed (make test-jax installs it)")
    flags = "--xla_force_host_platform_device_count=2"
    environment = os.environ | {"KERAS_BACKEND": backend, "XLA_FLAGS": flags}
    whole = SET_UP.format(tests=str(Path(__file__).parent)) + code + "\nprint(json.dumps(found))"
    command = [sys.executable, "-c", whole, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))
