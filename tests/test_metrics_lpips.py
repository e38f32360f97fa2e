"""LPIPS against the formula worked out layer by layer, with random weights in files of the usual layouts."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from orbit4d.errors import InputError
from orbit4d.evaluate.lpips import LPIPS, Network, load_lpips
from orbit4d.evaluate.weights import NotMeasured

SLICES = {"alex": ((0, 2), (2, 5), (5, 8), (8, 10), (10, 12)), "vgg": ((0, 4), (4, 9), (9, 16), (16, 23), (23, 30))}
"""Layers of each slice of the lpips package."""


def _model(network: Network = "alex", seed: int = 0) -> LPIPS:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LPIPS(network)


def _images(count: int = 2, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


def _parts(model: LPIPS) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The network's tensors by torchvision's names and the linear layers' by the lpips package's."""
    state = model.state_dict()
    features = {k: v.clone() for k, v in state.items() if k.startswith("features")}
    linear = {f"lin{k[-1]}.model.1.weight": v[None, :, None, None].clone() for k, v in state.items() if "linear" in k}
    return features, linear


def test_alexnet_by_hand() -> None:
    """The same figure from functional calls with strides, paddings and taps written out."""
    model, x, y = _model(), _images(seed=1), _images(seed=2)
    features, linear = _parts(model)

    def taps(image: torch.Tensor) -> list[torch.Tensor]:
        image = image * 2 - 1
        shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
        h = (image - shift.view(1, 3, 1, 1)) / scale.view(1, 3, 1, 1)
        out = []
        for index, stride, padding, pool in (
            (0, 4, 2, True),
            (3, 1, 2, True),
            (6, 1, 1, False),
            (8, 1, 1, 0),
            (10, 1, 1, 0),
        ):
            weight, bias = features[f"features.{index}.weight"], features[f"features.{index}.bias"]
            h = functional.conv2d(h, weight, bias, stride, padding).clamp_min(0)
            out.append(h)
            h = functional.max_pool2d(h, 3, 2) if pool else h
        return out

    expected = torch.zeros(2)
    for layer, (a, b) in enumerate(zip(taps(x), taps(y), strict=True)):
        a, b = (f / (f.norm(dim=1, keepdim=True) + 1e-10) for f in (a, b))
        expected += ((a - b) ** 2 * linear[f"lin{layer}.model.1.weight"]).sum(dim=1).mean(dim=(1, 2))
    assert (expected > 0.01).all()
    torch.testing.assert_close(model.score(x, y), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_a_distance(network: Network) -> None:
    model, x, y = _model(network), _images(side=48), _images(side=48, seed=1)
    assert model.score(x, x).tolist() == [0, 0]
    forth, back = model.score(x, y), model.score(y, x)
    assert (forth > 0).all()
    torch.testing.assert_close(forth, back)
    near = (x + 0.02 * (y - x)).clamp(0, 1)
    assert (model.score(x, near) < forth).all()
    assert [tuple(a.shape[1:2]) for a in model.activations(x)] == [(len(w),) for w in model.linear]


def test_batches_do_not_change_it() -> None:
    model, x, y = _model(), _images(19, 40), _images(19, 40, seed=1)
    one_by_one = torch.cat([model(x[i : i + 1], y[i : i + 1]) for i in range(19)])
    torch.testing.assert_close(model.score(x, y), one_by_one)


def test_vgg_taps_are_relu1_2_to_relu5_3() -> None:
    sides = [a.shape[-1] for a in _model("vgg").activations(_images(1, 64))]
    assert sides == [64, 32, 16, 8, 4]
    names = [k for k in _model("vgg").state_dict() if k.endswith("weight")]
    assert names == [f"features.{i}.weight" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]


@pytest.mark.parametrize("network", ["alex", "vgg"])
def test_files_of_every_layout_give_the_same_distance(network: Network, tmp_path: Path) -> None:
    model, x, y = _model(network, seed=3), _images(1, 40), _images(1, 40, seed=1)
    features, linear = _parts(model)
    classifier = {"classifier.6.bias": torch.zeros(1000)}
    save_file(features | classifier, tmp_path / "net.safetensors")
    torch.save(linear, tmp_path / "lin.pth")
    save_file(features | linear, tmp_path / "both.safetensors")
    whole = {f"lins.{k[3]}.model.1.weight": v.clone() for k, v in linear.items()} | linear
    whole |= {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    for number, (first, last) in enumerate(SLICES[network], 1):
        inside = {k: v for k, v in features.items() if first <= int(k.split(".")[1]) < last}
        whole |= {f"net.slice{number}." + k.removeprefix("features."): v for k, v in inside.items()}
    torch.save(whole, tmp_path / "whole.pth")
    layouts = [["net.safetensors", "lin.pth"], ["lin.pth", "net.safetensors"], ["both.safetensors"], ["whole.pth"]]
    for files in layouts:
        loaded = load_lpips([tmp_path / f for f in files])
        assert loaded.network == network
        assert torch.equal(loaded.score(x, y), model.score(x, y))


def test_without_weights_nothing_is_measured() -> None:
    for nothing in (None, []):
        with pytest.raises(NotMeasured, match=r"not measured: no weights \(pass --lpips FILE"):
            load_lpips(nothing)


def _damage(features: dict[str, torch.Tensor], linear: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    tensors = features | linear
    match how:
        case "no linear":
            return features
        case "no network":
            return linear
        case "one missing":
            del tensors["features.8.bias"]
        case "shape":
            tensors["lin1.model.1.weight"] = torch.rand(1, 7, 1, 1)
        case "negative":
            tensors["lin0.model.1.weight"] = -tensors["lin0.model.1.weight"]
        case "nan":
            tensors["features.3.weight"] = features["features.3.weight"] * torch.nan
        case "foreign":
            tensors["layer1.0.conv1.weight"] = torch.zeros(1)
        case "extra layer":
            tensors["features.12.weight"] = torch.zeros(1)
    return tensors


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no linear", "linear layers's? linear.0 and 4 more"),
        ("no network", "no features.0.weight"),
        ("one missing", "features.8.bias and 0 more are missing"),
        ("shape", r"linear.1 must have shape \(192,\).*got \(7,\)"),
        ("negative", "linear.0 has negative weights"),
        ("nan", "features.3.weight holds NaN"),
        ("foreign", "'layer1.0.conv1.weight', which is of no LPIPS"),
        ("extra layer", "features.12.weight is not of alexnet"),
    ],
)
def test_wrong_weights_are_one_line(how: str, words: str, tmp_path: Path) -> None:
    save_file(_damage(*_parts(_model()), how), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=words) as caught:
        load_lpips(tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("--lpips: ")


def test_linear_layers_of_the_other_network_are_refused(tmp_path: Path) -> None:
    torch.save(_parts(_model("alex"))[0], tmp_path / "net.pth")
    torch.save(_parts(_model("vgg"))[1], tmp_path / "lin.pth")
    with pytest.raises(InputError, match="another network's"):
        load_lpips([tmp_path / "net.pth", tmp_path / "lin.pth"])


class _Bomb:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return open, (self.marker, "w")


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    torch.save({"features.0.weight": _Bomb(str(tmp_path / "ran"))}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Bomb(str(tmp_path / "ran"))))
    for name in ("bomb.pth", "plain.pth"):
        with pytest.raises(InputError, match="cannot be read as plain tensors"):
            load_lpips(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_lpips(tmp_path / "none.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="state dict of tensors by name, got list"):
        load_lpips(tmp_path / "list.pth")


def test_shapes() -> None:
    with pytest.raises(ValueError, match="one shape"):
        _model()(_images(1), _images(2))
    with pytest.raises(ValueError, match="32 pixels"):
        _model()(_images(1, 31), _images(1, 31))
