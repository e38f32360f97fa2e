"""Real spherical harmonics up to degree 3, in the order and with the signs that 3DGS files use."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
