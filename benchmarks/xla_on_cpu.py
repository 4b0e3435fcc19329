"""Is XLA faster than plain TensorFlow on this CPU? Images/s of a train step, one ratio a line.

    .venv/bin/python benchmarks/xla_on_cpu.py [backbone] [image_size]

`rin.training` compiles with XLA only on an accelerator; this is the reason, measured anew.
"""

import sys
import time

import keras
import numpy as np

from rin import backbones, objectives

N, REPEATS = 32, 4


def images_per_second(name, size, jit_compile):
    """Training images/s after the first, compiling, step."""
    model = backbones.build(name, trainable="all", image_size=size, logits=True)
    model.compile("adam", objectives.loss(), jit_compile=jit_compile)
    x = np.random.default_rng(0).normal(size=(N, size, size, 3)).astype("float32")
    y = np.eye(2, dtype="float32")[np.arange(N) % 2]
    model.train_on_batch(x, y)
    started = time.perf_counter()
    for _ in range(REPEATS):
        model.train_on_batch(x, y)
    return N * REPEATS / (time.perf_counter() - started)


def main():
    """Print both rates and their ratio."""
    name = sys.argv[1] if len(sys.argv) > 1 else "resnet50"
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 96
    keras.utils.set_random_seed(0)
    plain, xla = (images_per_second(name, size, jit) for jit in (False, True))
    print(f"{name} {size} px: plain {plain:.1f}, XLA {xla:.1f} images/s, ratio {plain / xla:.2f}")


if __name__ == "__main__":
    main()
