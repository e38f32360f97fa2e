"""Real spherical harmonics up to degree 3, in the order and with the signs that 3DGS files use."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from .native import library, takes


def sh_basis(directions: Tensor, count: int) -> Tensor:
    """(..., 3) unit directions -> (..., count) basis values, count = 1, 4, 9 or 16.

    Order l = 0..3, m = -l..l, with the Condon-Shortley sign (-1)^m, as 3DGS stores its coefficients.
    """
    x, y, z = directions.unbind(-1)
    pi = math.pi
    out = [torch.full_like(x, 0.5 / math.sqrt(pi))]
    if count > 1:
        a = math.sqrt(3 / (4 * pi))
        out += [-a * y, a * z, -a * x]
    if count > 4:
        a, b = math.sqrt(15 / (4 * pi)), math.sqrt(5 / (16 * pi))
        out += [a * x * y, -a * y * z, b * (3 * z * z - 1), -a * x * z, 0.5 * a * (x * x - y * y)]
    if count > 9:
        a, b = math.sqrt(35 / (32 * pi)), math.sqrt(105 / (4 * pi))
        c, d = math.sqrt(21 / (32 * pi)), math.sqrt(7 / (16 * pi))
        out += [
            -a * y * (3 * x * x - y * y),
            b * x * y * z,
            -c * y * (5 * z * z - 1),
            d * z * (5 * z * z - 3),
            -c * x * (5 * z * z - 1),
            0.5 * b * z * (x * x - y * y),
            -a * x * (x * x - 3 * y * y),
        ]
    return torch.stack(out, dim=-1)


def evaluate_sh(sh: Tensor, directions: Tensor) -> Tensor:
    """sh (n, k, 3), unit directions (v, n, 3) -> (v, n, 3), without the 0.5 offset."""
    return torch.einsum("vnk,nkc->vnc", sh_basis(directions, sh.shape[1]), sh)


def shade(sh: Tensor, means: Tensor, positions: Tensor) -> Tensor:
    """Colours (v, n, 3), never below 0, of sh (n, 4 | 9 | 16, 3) at `means` (n, 3) seen from camera `positions` (v, 3).

    On the CPU in float32 the C++ core computes them and the gradient with respect to sh, unless others are asked for.
    """
    if tuple(sh.shape) not in [(len(means), k, 3) for k in (4, 9, 16)]:
        raise ValueError(f"sh must have shape ({len(means)}, 4|9|16, 3), got {tuple(sh.shape)}")
    if means.requires_grad or positions.requires_grad or not takes(sh, means, positions):
        return shade_reference(sh, means, positions)
    return _Shade.apply(sh, means, positions)  # type: ignore[return-value]


def shade_reference(sh: Tensor, means: Tensor, positions: Tensor) -> Tensor:
    """`shade` in PyTorch: any dtype and device, gradients of everything."""
    directions = functional.normalize(means[None] - positions[:, None], dim=-1)
    return (0.5 + evaluate_sh(sh, directions)).clamp_min(0)


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(ctx, sh: Tensor, means: Tensor, positions: Tensor) -> Tensor:
        sh, means, positions = sh.contiguous(), means.contiguous(), positions.contiguous()
        colors = torch.empty(len(positions), len(means), 3)
        ctx.shape = (len(positions), len(means), sh.shape[1], 0)
        ctx.save_for_backward(means, positions, colors)
        library().o4d_shade(*ctx.shape, *[x.data_ptr() for x in (sh, means, positions, colors)])
        return colors

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[override]
        means, positions, colors = ctx.saved_tensors
        grad, grad_sh = grad.contiguous(), torch.empty(len(means), ctx.shape[2], 3)
        library().o4d_shade_backward(*ctx.shape, *[x.data_ptr() for x in (means, positions, colors, grad, grad_sh)])
        return grad_sh, None, None
