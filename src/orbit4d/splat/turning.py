"""Gaussians in another coordinate system: positions, rotations and spherical harmonics turn together.

What a program calls up differs: our world is z up, glTF and most web players are y up, captures in the 3DGS convention
y down (their files keep COLMAP's camera axes).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import InputError
from .gaussians import Gaussians
from .hexplane import quaternion_multiply
from .spherical_harmonics import sh_basis

Up = Literal["z", "y", "y-down"]
UPS: tuple[Up, ...] = get_args(Up)
_WORLD_FROM: dict[Up, list[list[float]]] = {
    "z": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "y": [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    "y-down": [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],
}
"""`y-down` is `y` turned by 180 degrees about z: what programs that assume it do to a file when they load it."""
_DIRECTIONS = 64


def check_up(up: str, *, argument: str) -> Up:
    """`up`, if it is one of UPS. Raises InputError, naming `argument`."""
    for known in UPS:
        if up == known:
            return known
    raise InputError(f"{argument}: expected the axis that points up, one of {', '.join(UPS)}, got {up!r:.40}")


def world_from(up: Up) -> Tensor:
    """(3, 3) rotation, float64: coordinates of a file in which `up` points up -> our world (z up, front towards -y)."""
    return torch.tensor(_WORLD_FROM[up], dtype=torch.float64)


def turned(gaussians: Gaussians, rotation: Tensor) -> Gaussians:
    """The Gaussians after the rotation matrix `rotation` (3, 3) about the origin; exact for colours of every degree."""
    rotation = rotation.double()
    if torch.equal(rotation, torch.eye(3, dtype=torch.float64)):
        return gaussians
    quat = _quaternion(rotation).to(gaussians.quats)
    return replace(
        gaussians,
        means=gaussians.means @ rotation.T.to(gaussians.means),
        quats=quaternion_multiply(quat.expand_as(gaussians.quats), gaussians.quats),
        sh=_turned_harmonics(gaussians.sh, rotation),
    )


def _turned_harmonics(sh: Tensor, rotation: Tensor) -> Tensor:
    """Coefficients (n, k, 3) of the colours seen from turned directions: each degree by its own small matrix.

    Found from c'(d) = c(R^T d) at more directions than there are coefficients, which a band limited function satisfies exactly.
    """
    count = sh.shape[1]
    if count == 1:
        return sh
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(_DIRECTIONS, 3, generator=generator, dtype=torch.float64)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    after, before = sh_basis(directions, count), sh_basis(directions @ rotation, count)
    out = [sh[:, :1]]
    for first, last in ((1, 4), (4, 9), (9, 16)):
        if last <= count:
            matrix = torch.linalg.lstsq(after[:, first:last], before[:, first:last]).solution
            out.append(torch.einsum("ij,njc->nic", matrix.to(sh), sh[:, first:last]))
    return torch.cat(out, dim=1)


def _quaternion(rotation: Tensor) -> Tensor:
    """(4,) wxyz of a rotation matrix, by its largest component."""
    m = rotation
    squares = torch.stack(
        [
            1 + m[0, 0] + m[1, 1] + m[2, 2],
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
        ]
    )
    wx, wy, wz = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
    xy, xz, yz = m[1, 0] + m[0, 1], m[0, 2] + m[2, 0], m[2, 1] + m[1, 2]
    rows = [
        torch.stack([squares[0], wx, wy, wz]),
        torch.stack([wx, squares[1], xy, xz]),
        torch.stack([wy, xy, squares[2], yz]),
        torch.stack([wz, xz, yz, squares[3]]),
    ]
    return torch.nn.functional.normalize(rows[int(squares.argmax())], dim=0)
