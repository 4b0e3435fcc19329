"""The three networks in PyTorch, run from a state dict, for tests; torchvision checks them."""

import numpy as np

from rin.weights import matching, torch_names

BRANCHES = {  # of an InceptionV3 block; "/" strides by 2 without padding
    "A": ("1x1", "5x5_1 5x5_2", "3x3dbl_1 3x3dbl_2 3x3dbl_3", "avg _pool"),
    "B": ("3x3/", "3x3dbl_1 3x3dbl_2 3x3dbl_3/", "max"),
    "C": ("1x1", "7x7_1 7x7_2 7x7_3", "7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5", "avg _pool"),
    "D": ("3x3_1 3x3_2/", "7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4/", "max"),
    "E": (
        "1x1", "3x3_1 3x3_2a", "3x3_1 3x3_2b", "3x3dbl_1 3x3dbl_2 3x3dbl_3a",
        "3x3dbl_1 3x3dbl_2 3x3dbl_3b", "avg _pool",
    ),
}  # fmt: skip
BLOCKS = "5bA 5cA 5dA 6aB 6bC 6cC 6dC 6eC 7aD 7bE 7cE".split()


def tensors(backbone, base, bias=False, seed=0):
    """A random state dict under torchvision's names, in the shapes of a Keras model.

    In a tenth of the channels nothing varies, as in trained networks: there batch norm's epsilon
    shows. Features stay near 1 through a hundred layers.
    """
    draw = np.random.default_rng(seed)
    layers = {layer: module for module, layer in torch_names.table(backbone).items()}
    modules, made = matching.canonical(layers), {}
    for name, layer in matching.canonical(matching.weighted(base)).items():
        if hasattr(layer, "kernel"):
            h, w, n_in, n_out = layer.kernel.shape
            parts = {"weight": draw.normal(0, (2 / (h * w * n_in)) ** 0.5, (n_out, n_in, h, w))}
            parts |= {"bias": draw.normal(0, 0.2, n_out)} if bias else {}
        else:
            parts = _batch_norm(draw, layer.beta.shape[0])
        for part, value in parts.items():
            made[f"{modules[name]}.{part}"] = value.astype("float32")
    return made


def features(backbone, state, images, epsilon):
    """What PyTorch makes of images: `(n, h, w, 3)` to `(n, features)`, both numpy."""
    import torch

    run = {"resnet50": _resnet, "densenet121": _densenet, "inception_v3": _inception}[backbone]
    layers = _Layers({name: torch.from_numpy(value) for name, value in state.items()}, epsilon)
    with torch.no_grad():
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
        return run(layers, x).mean((2, 3)).numpy()


def _batch_norm(draw, n):
    still = np.arange(n) % 10 == 0
    return {
        "weight": np.where(still, 3e-3, draw.uniform(-0.2, 1.2, n)),
        "bias": draw.normal(0, 0.2, n),
        "running_mean": draw.normal(0, 0.3, n),
        "running_var": np.where(still, 0, draw.uniform(0.3, 2, n)),
    }


class _Layers:
    def __init__(self, state, epsilon):
        import torch.nn.functional as functional

        self.state, self.epsilon, self.f = state, epsilon, functional

    def conv(self, x, name, stride=1, padding=None):
        kernel = self.state[f"{name}.weight"]
        same = tuple(side // 2 for side in kernel.shape[2:])
        padding = same if padding is None else padding
        return self.f.conv2d(x, kernel, self.state.get(f"{name}.bias"), stride, padding)

    def norm(self, x, name, relu=True):
        parts = ("running_mean", "running_var", "weight", "bias")
        x = self.f.batch_norm(x, *(self.state[f"{name}.{p}"] for p in parts), eps=self.epsilon)
        return self.f.relu(x) if relu else x

    def unit(self, x, name, **options):
        return self.norm(self.conv(x, f"{name}.conv", **options), f"{name}.bn")


def _resnet(net, x):
    first = "conv1.bias" in net.state  # Keras's strides in the first convolution of a block
    x = net.f.max_pool2d(net.norm(net.conv(x, "conv1", 2), "bn1"), 3, 2, 1)
    for stage, n_blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(n_blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = net.norm(net.conv(x, f"{name}.conv1", stride if first else 1), f"{name}.bn1")
            y = net.norm(net.conv(y, f"{name}.conv2", 1 if first else stride), f"{name}.bn2")
            y = net.norm(net.conv(y, f"{name}.conv3"), f"{name}.bn3", relu=False)
            if block == 0:
                x = net.conv(x, f"{name}.downsample.0", stride)
                x = net.norm(x, f"{name}.downsample.1", relu=False)
            x = net.f.relu(x + y)
    return x


def _densenet(net, x):
    import torch

    x = net.norm(net.conv(x, "features.conv0", 2), "features.norm0")
    x = net.f.max_pool2d(x, 3, 2, 1)
    for block, n_layers in enumerate((6, 12, 24, 16), start=1):
        for layer in range(1, n_layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            y = net.conv(net.norm(x, f"{name}.norm1"), f"{name}.conv1")
            x = torch.cat([x, net.conv(net.norm(y, f"{name}.norm2"), f"{name}.conv2")], 1)
        if block < 4:
            name = f"features.transition{block}"
            x = net.f.avg_pool2d(net.conv(net.norm(x, f"{name}.norm"), f"{name}.conv"), 2)
    return net.norm(x, "features.norm5")


def _inception(net, x):
    import torch

    x = net.unit(x, "Conv2d_1a_3x3", stride=2, padding=0)
    x = net.unit(net.unit(x, "Conv2d_2a_3x3", padding=0), "Conv2d_2b_3x3")
    x = net.unit(net.f.max_pool2d(x, 3, 2), "Conv2d_3b_1x1")
    x = net.f.max_pool2d(net.unit(x, "Conv2d_4a_3x3", padding=0), 3, 2)
    for block in BLOCKS:
        name = f"Mixed_{block[:2]}"
        x = torch.cat([_branch(net, x, name, steps.split()) for steps in BRANCHES[block[2]]], 1)
    return x


def _branch(net, x, name, steps):
    for step in steps:
        if step == "max":
            x = net.f.max_pool2d(x, 3, 2)
        elif step == "avg":
            x = net.f.avg_pool2d(x, 3, 1, 1)
        else:
            strided = {"stride": 2, "padding": 0} if step.endswith("/") else {}
            x = net.unit(x, f"{name}.branch{step.removesuffix('/')}", **strided)
    return x
