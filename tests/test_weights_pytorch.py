"""PyTorch files give the features they gave in PyTorch, or are refused with the reason."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import torch_networks
from tiny import make_run

from rin import backbones, banked, training, weights
from rin.weights import formats, matching, pytorch, torch_names, torch_network
from rin.weights.report import WeightsError

SIZE = 96
EPSILON = {"resnet50": 1e-5, "densenet121": 1e-5, "inception_v3": 1e-3}
CHILDREN = {  # places in torchvision's lists, counted by hand
    "resnet50": {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7},
    "densenet121": {"features": 0},
    "inception_v3": {
        "Conv2d_1a_3x3": 0, "Conv2d_2a_3x3": 1, "Conv2d_2b_3x3": 2, "Conv2d_3b_1x1": 4,
        "Conv2d_4a_3x3": 5, "Mixed_5b": 7, "Mixed_5c": 8, "Mixed_5d": 9, "Mixed_6a": 10,
        "Mixed_6b": 11, "Mixed_6c": 12, "Mixed_6d": 13, "Mixed_6e": 14, "Mixed_7a": 15,
        "Mixed_7b": 16, "Mixed_7c": 17,
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip(
        "torch",
        reason="needs torch, which is not installed (pip install -r requirements-torch.lock)",
    )


@pytest.fixture(scope="module")
def networks():
    """`networks(name)`: Keras's network, torchvision's in Keras, and tensors in its shapes."""
    built = {}

    def build(name):
        if name not in built:
            plain = backbones.build_base(name, SIZE)
            theirs = torch_network.as_torchvision(name, plain)
            built[name] = plain, theirs, torch_networks.tensors(name, theirs)
        return built[name]

    return build


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(3, SIZE, SIZE, 3)).astype("float32")


def fill(model, layers):
    matching.place("made.pt", model, formats.Content("PyTorch state dict", layers))
    return model


def seen(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def difference(a, b):
    """The largest one, as a part of the largest feature."""
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("name", pytorch.BACKBONES)
def test_torchvision_tensors_give_the_features_they_gave_in_torch(name, torch, networks, images):
    _, model, state = networks(name)
    expected = torch_networks.features(name, state, images, EPSILON[name])
    fill(model, pytorch.to_keras(name, state, "made.pt", model))
    assert difference(seen(model, images), expected) < 1e-5


def test_a_keras_structured_file_gives_its_features_in_kerass_resnet50(torch, networks, images):
    model, _, _ = networks("resnet50")
    state = torch_networks.tensors("resnet50", model, bias=True)
    expected = torch_networks.features("resnet50", state, images, 1.001e-5)
    fill(model, pytorch.to_keras("resnet50", state, "made.pth"))
    assert difference(seen(model, images), expected) < 1e-5


def test_odd_and_even_sides_are_cut_as_in_torch(torch, networks):
    images = np.random.default_rng(1).normal(size=(2, 75, 98, 3)).astype("float32")
    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(75, 98, 3), pooling="avg"
    )
    model, state = torch_network.as_torchvision("resnet50", base), networks("resnet50")[2]
    fill(model, pytorch.to_keras("resnet50", state, "made.pt", model))
    expected = torch_networks.features("resnet50", state, images, 1e-5)
    assert difference(seen(model, images), expected) < 1e-5


@pytest.mark.parametrize("name", pytorch.BACKBONES)
def test_the_hand_written_networks_are_torchvisions(name, torch, networks, images):
    torchvision = pytest.importorskip("torchvision", reason="needs torchvision, not installed")
    options = {"init_weights": False} if name == "inception_v3" else {}
    theirs = getattr(torchvision.models, name)(weights=None, **options)
    state = networks(name)[2]
    loaded = theirs.load_state_dict(
        {key: torch.from_numpy(value) for key, value in state.items()}, strict=False
    )
    assert not loaded.unexpected_keys
    assert all(key.split(".")[0] in pytorch.LEFT_OUT for key in loaded.missing_keys)
    setattr(theirs, "classifier" if name == "densenet121" else "fc", torch.nn.Identity())
    with torch.no_grad():
        features = theirs.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    mine = torch_networks.features(name, state, images, EPSILON[name])
    assert difference(mine, features) < 1e-5


@pytest.mark.parametrize("name", pytorch.BACKBONES)
def test_a_sequential_of_torchvisions_children_has_the_numbers_counted_here(name, torch):
    torchvision = pytest.importorskip("torchvision", reason="needs torchvision, not installed")
    options = {"init_weights": False, "aux_logits": False} if name == "inception_v3" else {}
    theirs = getattr(torchvision.models, name)(weights=None, **options)
    places = {child: i for i, (child, _) in enumerate(theirs.named_children())}
    assert CHILDREN[name].items() <= places.items()


@pytest.mark.parametrize("name", pytorch.BACKBONES)
def test_numbered_children_behind_backbone_are_the_same_tensors(name, networks):
    _, model, state = networks(name)
    official = {}
    for key, value in state.items():
        child, _, rest = key.partition(".")
        official[f"backbone.{CHILDREN[name][child]}.{rest}"] = value
    layers = pytorch.to_keras(name, official, "ResNet50.pt", model)
    expected = pytorch.to_keras(name, state, "made.pt", model)
    assert all(
        np.array_equal(layers[layer][key], expected[layer][key])
        for layer in expected
        for key in expected[layer]
    )
    assert torch_names.NUMBERED in pytorch.notes(name, official)


def test_an_auxiliary_classifier_among_the_numbered_children_shifts_the_last_three():
    named, _ = torch_names.plain("inception_v3", ["15.conv0.conv.weight", "16.branch3x3_1.bn.bias"])
    assert list(named.values()) == [
        "AuxLogits.conv0.conv.weight",
        "Mixed_7a.branch3x3_1.bn.bias",
    ]


def test_a_kernel_has_its_axes_in_kerass_order():
    state, sizes = {}, (5, 4, 2, 3)  # features out, features in, rows, columns
    for module, layer in torch_names.table("densenet121").items():
        if torch_names.is_batch_norm(layer):
            state |= {f"{module}.{part}": np.ones(4, np.float32) for part in pytorch.BATCH_NORM}
        else:
            state[f"{module}.weight"] = np.arange(120, dtype=np.float32).reshape(sizes)
    kernel = pytorch.to_keras("densenet121", state, "made.pt")["conv1_conv"]["kernel"]
    assert kernel.shape == (2, 3, 4, 5)
    assert kernel[1, 2, 3, 4] == 119
    assert kernel[1, 0, 0, 0] == 3  # one row down
    assert kernel[0, 1, 0, 0] == 1  # one column to the right


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "state_dict.module.", "model."])
def test_wrappers_and_what_lies_above_the_backbone_are_taken_off_and_listed(wrapper, networks):
    _, model, state = networks("resnet50")
    above = {"fc.weight": np.ones((165, 2048)), "fc.bias": np.ones(165)}
    wrapped = {wrapper + key: value for key, value in (state | above).items()}
    assert set(pytorch.to_keras("resnet50", wrapped, "x.pt", model)) == set(
        torch_names.table("resnet50").values()
    )
    said = pytorch.notes("resnet50", wrapped)
    assert "2 tensors of fc above the backbone were left out" in said
    assert f"the prefix '{wrapper.split('.')[0]}.' was taken off" in said


def test_a_channel_that_never_varies_keeps_its_output_under_kerass_larger_epsilon(networks):
    _, _, state = networks("densenet121")
    state = state | {
        "features.norm0.running_var": np.float32([0, 1] * 32),
        "features.norm0.weight": np.ones(64, "float32"),
    }
    gamma = pytorch.to_keras("densenet121", state, "x.pt")["conv1_bn"]["gamma"]
    # 1/sqrt(0 + 1.001e-5) times sqrt(1.001) is 1/sqrt(1e-5)
    np.testing.assert_allclose(gamma[:2], [1.001**0.5, 1], rtol=1e-6)


@pytest.mark.parametrize("name", ["resnet50", "inception_v3"])
def test_torchvisions_network_keeps_kerass_names_and_last_ten_layers(name, networks):
    plain, theirs, _ = networks(name)
    ours, names = ([layer.name for layer in model.layers[1:]] for model in (plain, theirs))
    added = [layer for layer in names if layer.endswith(torch_network.PAD)]
    assert set(names) - set(added) == set(ours) and names[-10:] == ours[-10:]
    assert len(added) == {"resnet50": 3, "inception_v3": 9}[name]
    assert theirs.output_shape == plain.output_shape and theirs.name == plain.name
    assert torch_network.as_torchvision(name, theirs) is theirs


def test_densenet121_is_one_network_in_both_libraries(networks):
    plain, theirs, _ = networks("densenet121")
    assert theirs is plain


@pytest.mark.parametrize(
    ("name", "reason"),
    [("resnet50", "3x3 convolution and Keras's in the first 1x1"), ("inception_v3", "border")],
)
def test_kerass_own_network_is_refused_where_it_computes_something_else(name, reason, networks):
    plain, _, state = networks(name)
    for model in (None, plain):
        with pytest.raises(WeightsError, match=f"made.pt.*{reason}.*as_torchvision"):
            pytorch.to_keras(name, state, "made.pt", model)
    assert pytorch.network(name, state) == "torchvision"


def test_a_keras_structured_file_is_refused_by_torchvisions_network(networks):
    plain, theirs, _ = networks("resnet50")
    state = torch_networks.tensors("resnet50", plain, bias=True)
    assert pytorch.network("resnet50", state) == "keras"
    with pytest.raises(WeightsError, match="built as torchvision's"):
        pytorch.to_keras("resnet50", state, "made.pth", theirs)


def spoiled(kind, state):
    """A state dict with one thing wrong."""
    kernel = state["conv1.weight"]
    return {
        "missing": {key: value for key, value in state.items() if key != "bn1.bias"},
        "unknown": state | {"layer9.weight": kernel},
        "resnet18": {k: v for k, v in state.items() if "conv3" not in k and "bn3" not in k},
        "some biases": state | {"conv1.bias": np.zeros(64)},
        "twice": state | {"module.conv1.weight": kernel},
        "negative variance": state | {"bn1.running_var": -np.ones(64)},
        "flat kernel": state | {"conv1.weight": kernel.reshape(64, -1)},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", r"Missing in the file: 1 \['bn1.bias'\]; unknown to the network: 0"),
        ("unknown", r"file: 0 \[\]; unknown to the network: 1 \['layer9.weight'\]"),
        ("resnet18", "its tensors are not resnet50's. Missing in the file: 80"),
        ("some biases", "Missing in the file: 52 .*unknown to the network: 0"),
        ("twice", "two tensors have one name"),
        ("negative variance", "bn1.running_var is below 0"),
        ("flat kernel", r"conv1.weight has shape \(64, 147\), expected four dimensions"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused(kind, message, networks):
    _, model, state = networks("resnet50")
    with pytest.raises(WeightsError, match=f"^bad.pt: .*{message}"):
        pytorch.to_keras("resnet50", spoiled(kind, state), "bad.pt", model)


def test_inception_resnet_v2_has_no_pytorch_file(networks):
    _, _, state = networks("resnet50")
    with pytest.raises(WeightsError, match="of inception_resnet_v2 none was published"):
        pytorch.to_keras("inception_resnet_v2", state, "IRV2.pt")
    with pytest.raises(ValueError, match="no such network"):
        torch_network.as_torchvision("inception_resnet_v2", None)


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("zipped", [True, False])
def test_read_finds_the_state_dict_and_passes_counters_over(key, zipped, torch, tmp_path):
    state = {"a.weight": torch.ones(2, dtype=torch.float16), "a.num_batches_tracked": torch.ones(1)}
    content = {key: state, "epoch": 3, "optimizer": {"lr": 0.1}} if key else state
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    read = pytorch.read(tmp_path / "x.pt")
    name = f"{key}.a.weight" if key else "a.weight"
    assert list(read) == [name] and read[name].dtype == np.float32
    np.testing.assert_array_equal(read[name], [1, 1])


class Trap:
    """Pickled, it writes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.write_text, (self.file, "the code has run")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_refused_without_being_run(zipped, torch, tmp_path):
    content = {"conv1.weight": torch.ones(2), "trap": Trap(tmp_path / "ran")}
    torch.save(content, tmp_path / "bad.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="bad.pt: holds objects or code .* not run"):
        pytorch.read(tmp_path / "bad.pt")
    assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_model_is_refused(torch, tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match=r"save model.state_dict\(\) alone"):
        pytorch.read(tmp_path / "bad.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_one_clear_error(zipped, torch, tmp_path):
    whole, bad = tmp_path / "whole.pt", tmp_path / "bad.pt"
    torch.save({"conv1.weight": torch.ones(500)}, whole, _use_new_zipfile_serialization=zipped)
    content = whole.read_bytes()
    for length in range(0, len(content), len(content) // 20):
        bad.write_bytes(content[:length])
        with pytest.raises(WeightsError, match="bad.pt: "):
            pytorch.read(bad)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: {"a": t.ones(2) * np.nan}, "a holds values that are not finite"),
        (lambda t: {"a": t.ones(2, dtype=t.float64) * 1e300}, "not finite"),
        (lambda t: {"a": 3}, "'a' is int; tensors of floats are expected"),
        (lambda t: {"a": t.ones(2, dtype=t.int64)}, "'a' is torch.int64"),
        (lambda t: {"a": t.ones(2).to_sparse()}, "a is no plain tensor"),
        (lambda t: [t.ones(2)], "a state dict is expected. Received: list"),
        (lambda t: {"model": {}, "state_dict": {}}, "several state dicts in it"),
    ],
)
def test_what_is_no_state_dict_of_finite_floats_is_refused(make, message, torch, tmp_path):
    torch.save(make(torch), tmp_path / "bad.pt")
    with pytest.raises(WeightsError, match=f"bad.pt: .*{message}"):
        pytorch.read(tmp_path / "bad.pt")


def test_without_torch_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match="x.pt: .*pip install -r requirements-torch.lock"):
        pytorch.read(tmp_path / "x.pt")


def test_a_run_from_a_torchvision_file_trains_torchvisions_network(torch, networks, tmp_path):
    """From the file to a run's fresh state, on the bank and off it."""
    _, theirs, state = networks("resnet50")
    file = tmp_path / "ResNet50.pt"
    torch.save({name: torch.from_numpy(value) for name, value in state.items()}, file)
    assert weights.variant(str(file), "resnet50") == "torchvision"
    model = backbones.build("resnet50", str(file), "top10", image_size=SIZE)
    layers = pytorch.to_keras("resnet50", state, "made.pt", theirs)
    fill(theirs, layers)
    x = np.random.default_rng(1).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    base = keras.Model(model.input, model.get_layer("dropout").input)
    assert difference(seen(base, x), seen(theirs, x)) < 1e-5
    run = make_run(trainable="top10", init=str(file))
    shape = {"backbone": "resnet50", "classifier": "gap", "image_size": SIZE}
    fresh = training.fresh_state(run, shape | {"trainable": "top10", "variant": "torchvision"})
    shared = banked.Networks("resnet50", ("top10",), image_size=SIZE, variant="torchvision")
    assert [v.shape for v in fresh] == [tuple(v.shape) for v in shared.network.variables]
    plain = banked.Networks("resnet50", ("top10",), image_size=SIZE)
    assert len(plain.network.variables) != len(fresh)  # its convolutions have a bias


def test_keras_files_need_no_other_network(tmp_path):
    assert weights.variant("random", "resnet50") == weights.variant(None, "resnet50") == "keras"
    with pytest.raises(ValueError, match="`variant` should be one of"):
        weights.suited(None, "resnet50", "timm")
