"""LPIPS (Zhang et al. 2018), from the published formula:

    d(x, y) = sum_l mean_hw w_l . (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2

f_l are the activations of AlexNet or VGG16 after five of their rectifiers, unit length over channels, and w_l >= 0 learned
weights, one a channel. Both the network and the weights come from the user's files, by the names that torchvision
(`features.0.weight`) and the lpips package (`lin0.model.1.weight`) give them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError
from .weights import NotMeasured, read_tensors

Network = Literal["alex", "vgg"]
NO_LPIPS = "no weights (pass --lpips FILE...: the network's and the linear layers')"
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""LPIPS' input normalisation, of images in [-1, 1]."""
EPSILON = 1e-10
MIN_SIDE = 32
"""Smaller frames vanish in the networks' pooling."""
BATCH = 8

# Layers in torchvision's order, so that their indices are its key names: (in, out, kernel, stride, padding) is a convolution.
_ALEX: tuple[tuple[int, ...] | str, ...] = (
    (3, 64, 11, 4, 2), "relu", "pool3", (64, 192, 5, 1, 2), "relu", "pool3", (192, 384, 3, 1, 1), "relu",
    (384, 256, 3, 1, 1), "relu", (256, 256, 3, 1, 1), "relu",
)  # fmt: skip


def _vgg_layers() -> tuple[tuple[int, ...] | str, ...]:
    layers: list[tuple[int, ...] | str] = []
    before = 3
    for block, (width, count) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        layers += ["pool2"] if block else []
        for _ in range(count):
            layers += [(before, width, 3, 1, 1), "relu"]
            before = width
    return tuple(layers)


_LAYERS = {"alex": _ALEX, "vgg": _vgg_layers()}
_TAPS = {"alex": (1, 4, 7, 9, 11), "vgg": (3, 8, 15, 22, 29)}
"""Indices of the rectifiers whose activations are compared."""
_WIDTHS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}
_IGNORED = ("classifier.", "scaling_layer.", "lins.")
"""What whole files hold beside what is used: ImageNet's classifier, LPIPS' constants, a second copy of its layers."""


class LPIPS(nn.Module):
    """The distance. Weights are random until a state dict is loaded; see `load_lpips`."""

    def __init__(self, network: Network = "alex") -> None:
        super().__init__()
        self.network: Network = network
        modules: list[nn.Module] = []
        for layer in _LAYERS[network]:
            match layer:
                case "relu":
                    modules.append(nn.ReLU())
                case "pool2":
                    modules.append(nn.MaxPool2d(2, 2))
                case "pool3":
                    modules.append(nn.MaxPool2d(3, 2))
                case (before, after, kernel, stride, padding):
                    modules.append(nn.Conv2d(before, after, kernel, stride, padding))
        self.features = nn.Sequential(*modules)
        self.linear = nn.ParameterList([nn.Parameter(torch.rand(width)) for width in _WIDTHS[network]])
        self.requires_grad_(False)

    def activations(self, images: Tensor) -> list[Tensor]:
        """The five activations of images (n, 3, h, w) in [0, 1], of unit length over channels."""
        shift, scale = (torch.tensor(x).to(images)[:, None, None] for x in (SHIFT, SCALE))
        x, out = (2 * images - 1 - shift) / scale, []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in _TAPS[self.network]:
                out.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON))
        return out

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """(n,) distances, 0 for equal images, between images (n, 3, h, w) in [0, 1] of 32 pixels a side or more."""
        if prediction.shape != target.shape or prediction.ndim != 4 or prediction.shape[1] != 3:
            raise ValueError(
                f"both inputs must have one shape (n, 3, h, w), got {tuple(prediction.shape)} and {tuple(target.shape)}"
            )
        if min(prediction.shape[-2:]) < MIN_SIDE:
            raise ValueError(
                f"LPIPS needs frames of at least {MIN_SIDE} pixels a side, got {tuple(prediction.shape[-2:])}"
            )
        total = prediction.new_zeros(len(prediction))
        for weight, a, b in zip(self.linear, self.activations(prediction), self.activations(target), strict=True):
            total = total + functional.conv2d((a - b).square(), weight[None, :, None, None]).mean(dim=(1, 2, 3))
        return total

    @torch.no_grad()
    def score(self, prediction: Tensor, target: Tensor) -> Tensor:
        """`forward` without gradients and in small batches, so that long clips fit in memory."""
        pairs = zip(prediction.split(BATCH), target.split(BATCH), strict=True)
        return torch.cat([self(a, b) for a, b in pairs])


def load_lpips(files: str | Path | Sequence[str | Path] | None) -> LPIPS:
    """LPIPS with the weights of one file that holds both parts, or of two: the network's and the linear layers'.

    Args:
        files: .safetensors, or .pth state dicts of plain tensors. Names are torchvision's (`features.N.weight`) or, as in a
            whole LPIPS state dict, `net.sliceK.N.weight`; with `linK.model.1.weight` (1, c, 1, 1). The first convolution
            tells AlexNet from VGG16.

    Raises NotMeasured for None, InputError for files that are missing, damaged, incomplete or of another network.
    """
    if files is None:
        raise NotMeasured(NO_LPIPS)
    paths = [files] if isinstance(files, str | Path) else list(files)
    if not paths:
        raise NotMeasured(NO_LPIPS)
    source = ", ".join(map(str, paths))
    tensors: dict[str, Tensor] = {}
    for path in paths:
        for key, value in read_tensors(path, argument="--lpips").items():
            name = _own_name(key)
            if name is None:
                raise InputError(
                    f"--lpips: {path}: holds {key!r}, which is of no LPIPS network; expected AlexNet or VGG16"
                )
            if name in tensors:
                raise InputError(f"--lpips: {path}: holds {key!r} a second time; pass each part once")
            if name:
                tensors[name] = value.flatten() if name.startswith("linear.") else value
    first = tensors.get("features.0.weight")
    if first is None:
        raise InputError(f"--lpips: {source}: no features.0.weight; pass the AlexNet's or VGG16's weights too")
    model = LPIPS("alex" if first.shape[-1] == 11 else "vgg")
    _fill(model, tensors, source=source)
    return model.eval()


def _own_name(key: str) -> str | None:
    """The parameter of `LPIPS` that a file's `key` holds; "" for what is not used, None for what does not belong."""
    parts = key.split(".")
    match parts:
        case ["features", index, ("weight" | "bias") as kind] if index.isdigit():
            return f"features.{index}.{kind}"
        case ["net", name, index, ("weight" | "bias") as kind] if name.startswith("slice") and index.isdigit():
            return f"features.{index}.{kind}"
        case [name, "model", "1", "weight"] if name.startswith("lin") and name[3:].isdigit():
            return f"linear.{name[3:]}"
    return "" if key.startswith(_IGNORED) else None


def _fill(model: LPIPS, tensors: dict[str, Tensor], *, source: str) -> None:
    wanted = model.state_dict()
    missing = sorted(set(wanted) - set(tensors))
    if missing:
        part = "linear layers" if missing[0].startswith("linear") else "network"
        raise InputError(
            f"--lpips: {source}: the {part}'s {missing[0]} and {len(missing) - 1} more are missing; pass both files"
        )
    foreign = sorted(set(tensors) - set(wanted))
    if foreign:
        raise InputError(f"--lpips: {source}: {foreign[0]} is not of {model.network}net; expected AlexNet or VGG16")
    for name, value in wanted.items():
        if tensors[name].shape != value.shape:
            raise InputError(
                f"--lpips: {source}: {name} must have shape {tuple(value.shape)} for {model.network}, "
                f"got {tuple(tensors[name].shape)}; are the linear layers another network's?"
            )
        if not tensors[name].isfinite().all():
            raise InputError(f"--lpips: {source}: {name} holds NaN or infinity; the file is damaged")
        if name.startswith("linear.") and (tensors[name] < 0).any():
            raise InputError(f"--lpips: {source}: {name} has negative weights, with which LPIPS is no distance")
    model.load_state_dict({name: tensors[name].float() for name in wanted})
