"""PyTorch names: which module of torchvision's networks is which layer of keras.applications."""

import re

# Dictionaries of training scripts, DataParallel, torch.compile, the official files
WRAPPERS = ("state_dict.", "model_state_dict.", "model.", "module.", "_orig_mod.", "backbone.")
NUMBERED = "numbered children of a Sequential were given torchvision's names"
CHILDREN = {  # in torchvision's order; a numbered name is a place in this list
    "resnet50": "conv1 bn1 relu maxpool layer1 layer2 layer3 layer4 avgpool fc",
    "densenet121": "features classifier",
    "inception_v3": "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 "
    "Conv2d_4a_3x3 maxpool2 Mixed_5b Mixed_5c Mixed_5d Mixed_6a Mixed_6b Mixed_6c Mixed_6d "
    "Mixed_6e Mixed_7a Mixed_7b Mixed_7c avgpool dropout fc",
}
AUXILIARY = "AuxLogits"  # a child after Mixed_6e, unless it was built with aux_logits=False
RESNET_BLOCKS, DENSENET_BLOCKS = (3, 4, 6, 3), (6, 12, 24, 16)
INCEPTION_BRANCHES = {  # the convolutions of a block, in the order both libraries make them
    "A": "1x1 5x5_1 5x5_2 3x3dbl_1 3x3dbl_2 3x3dbl_3 _pool",
    "B": "3x3 3x3dbl_1 3x3dbl_2 3x3dbl_3",
    "C": "1x1 7x7_1 7x7_2 7x7_3 7x7dbl_1 7x7dbl_2 7x7dbl_3 7x7dbl_4 7x7dbl_5 _pool",
    "D": "3x3_1 3x3_2 7x7x3_1 7x7x3_2 7x7x3_3 7x7x3_4",
    "E": "1x1 3x3_1 3x3_2a 3x3_2b 3x3dbl_1 3x3dbl_2 3x3dbl_3a 3x3dbl_3b _pool",
}
INCEPTION_BLOCKS = {
    "5b": "A", "5c": "A", "5d": "A", "6a": "B", "6b": "C", "6c": "C", "6d": "C", "6e": "C",
    "7a": "D", "7b": "E", "7c": "E",
}  # fmt: skip


def table(backbone):
    """Every module with weights and the Keras layer that takes them, in Keras's order.

    Args:
        backbone: "resnet50", "densenet121" or "inception_v3".

    Returns:
        `{torch module: Keras layer}`. Auto-numbered layers are numbered as in a process that
        built nothing else.

    Source: keras.applications 3.15 and torchvision 0.28, read side by side.

    >>> table("resnet50")["layer2.0.downsample.0"]
    'conv3_block1_0_conv'
    """
    return {"resnet50": _resnet, "densenet121": _densenet, "inception_v3": _inception}[backbone]()


def plain(backbone, names):
    """The names as torchvision writes them.

    Args:
        backbone: as `table` takes it.
        names: tensor names, perhaps behind some of `WRAPPERS`, or numbered as the children of
            a network that was put into an `nn.Sequential`.

    Returns:
        `{name: plain name}`, and a tuple of sentences on what was undone.

    >>> plain("resnet50", ["module.backbone.4.0.conv1.weight"])[0]
    {'module.backbone.4.0.conv1.weight': 'layer1.0.conv1.weight'}
    """
    bare, found = {}, set()
    for name in names:
        short = name
        while wrapper := next((w for w in WRAPPERS if short.startswith(w)), None):
            short = short.removeprefix(wrapper)
            found.add(wrapper)
        # torchvision's own DenseNet file is older than its code: norm.1 is norm1 now
        bare[name] = re.sub(r"\b(norm|conv)\.([12])\.", r"\1\2.", short)
    said = [f"the prefix {wrapper!r} was taken off" for wrapper in WRAPPERS if wrapper in found]
    children = _children(backbone, bare.values())
    named = {name: _named(short, children) for name, short in bare.items()}
    if named != bare:
        said.append(NUMBERED)
    return named, tuple(said)


def is_batch_norm(layer):
    """Whether a Keras layer of `table` is a batch norm; the others are convolutions."""
    return layer.startswith("batch_normalization") or layer.endswith("bn")


def _children(backbone, names):
    children = CHILDREN[backbone].split()
    if any(name.startswith("15.conv0.") for name in names):
        children.insert(15, AUXILIARY)
    return children


def _named(name, children):
    number, _, rest = name.partition(".")
    if number.isdigit() and int(number) < len(children):
        return f"{children[int(number)]}.{rest}"
    return name


def _resnet():
    names = {"conv1": "conv1_conv", "bn1": "conv1_bn"}
    for stage, n_blocks in enumerate(RESNET_BLOCKS, start=1):
        for block in range(n_blocks):
            theirs, ours = f"layer{stage}.{block}", f"conv{stage + 1}_block{block + 1}"
            if block == 0:
                names[f"{theirs}.downsample.0"] = f"{ours}_0_conv"
                names[f"{theirs}.downsample.1"] = f"{ours}_0_bn"
            for k in (1, 2, 3):
                names[f"{theirs}.conv{k}"] = f"{ours}_{k}_conv"
                names[f"{theirs}.bn{k}"] = f"{ours}_{k}_bn"
    return names


def _densenet():
    names = {"features.conv0": "conv1_conv", "features.norm0": "conv1_bn"}
    for block, n_layers in enumerate(DENSENET_BLOCKS, start=1):
        for k in range(1, n_layers + 1):
            theirs, ours = f"features.denseblock{block}.denselayer{k}", f"conv{block + 1}_block{k}"
            names[f"{theirs}.norm1"], names[f"{theirs}.conv1"] = f"{ours}_0_bn", f"{ours}_1_conv"
            names[f"{theirs}.norm2"], names[f"{theirs}.conv2"] = f"{ours}_1_bn", f"{ours}_2_conv"
        if block < len(DENSENET_BLOCKS):
            names[f"features.transition{block}.norm"] = f"pool{block + 1}_bn"
            names[f"features.transition{block}.conv"] = f"pool{block + 1}_conv"
    return names | {"features.norm5": "bn"}


def _inception():
    modules = [name for name in CHILDREN["inception_v3"].split() if name.startswith("Conv2d")]
    for block, kind in INCEPTION_BLOCKS.items():
        branches = INCEPTION_BRANCHES[kind].split()
        modules += [f"Mixed_{block}.branch{branch}" for branch in branches]
    names = {}
    for number, module in enumerate(modules):
        end = f"_{number}" if number else ""
        names[f"{module}.conv"] = f"conv2d{end}"
        names[f"{module}.bn"] = f"batch_normalization{end}"
    return names
