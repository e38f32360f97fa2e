"""Camera geometry for the denoiser, recovered from its Pluecker rays, and attention that sees only relative poses.

Every token i carries a rigid world-to-frame transform E_i. On part of each head's channels, read as 4-vectors,

    logit_ij = q_i^T (E_i E_j^-1) k_j,    out_i = sum_j a_ij (E_i E_j^-1) v_j

so that moving the whole world (E -> E G^-1) changes nothing (GTA, Miyato et al. 2024; PRoPE, Li et al. 2025).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

UNIT = 2.0
"""World units that count as 1 in the transforms: the radius of the default orbit, which keeps their entries near 1."""


def camera_frames(plucker: Tensor) -> tuple[Tensor, Tensor]:
    """Pinhole cameras from the rays (*b, h, w, 6) through a regular grid of their image, principal point at its centre.

    Returns: world_to_camera (*b, 4, 4), OpenCV axes, and focal (*b, 2): x / z times it is 1 at the right (lower) image edge.
    """
    d, moment = plucker[..., :3].double(), plucker[..., 3:].double()
    h, w = d.shape[-3:-1]
    closest = torch.cross(d, moment, dim=-1)  # (I - d d^T) o, summed over the rays, determines the centre o
    normal = (torch.eye(3, dtype=d.dtype, device=d.device) - d[..., :, None] * d[..., None, :]).sum((-4, -3))
    centre = torch.linalg.solve(normal, closest.sum((-3, -2)))
    forward = F.normalize(d.mean((-3, -2)), dim=-1)
    plane = d / (d * forward[..., None, None, :]).sum(-1, keepdim=True)  # on the image plane at depth 1
    across, along = (
        (plane[..., :, -1, :] - plane[..., :, 0, :]).mean(-2),
        (plane[..., -1, :, :] - plane[..., 0, :, :]).mean(-2),
    )
    right = F.normalize(across - (across * forward).sum(-1, keepdim=True) * forward, dim=-1)
    down = torch.cross(forward, right, dim=-1)
    rotation = torch.stack([right, down, forward], dim=-2)
    half = torch.stack([(across * right).sum(-1) * w / (w - 1), (along * down).sum(-1) * h / (h - 1)], dim=-1) / 2
    return _rigid(rotation, -(rotation @ centre[..., None])).to(plucker.dtype), (1 / half).to(plucker.dtype)


def ray_frames(plucker: Tensor, world_to_camera: Tensor) -> Tensor:
    """(*b, h, w, 4, 4): each camera's frame turned by the smallest rotation that takes its forward axis to the token's ray."""
    d = plucker[..., :3] @ world_to_camera[..., None, :3, :3].transpose(-1, -2)
    x, y, z = d.unbind(-1)
    k = 1 / (1 + z)
    rows = [1 - k * x * x, -k * x * y, -x, -k * x * y, 1 - k * y * y, -y, x, y, z]
    turn = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    pose = world_to_camera[..., None, None, :, :]
    return _rigid(turn @ pose[..., :3, :3], turn @ pose[..., :3, 3:])


def _rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    out = rotation.new_zeros(*rotation.shape[:-2], 4, 4)
    out[..., :3, :3], out[..., :3, 3:], out[..., 3, 3] = rotation, translation, 1
    return out


@dataclass(kw_only=True)
class RelativePose:
    """Transforms of n sequences of l tokens for one attention. `to_query`, `to_key`, `to_out` are E^T, E^-1 and E, E in units of
    UNIT: (n, l, 4, 4), a token each, or, where all tokens of a frame share one, (n, f, k, k) for all k channels that they act
    on. `turn` (l, 2, r) are cosines and sines of the tokens' image positions, `channels` is k."""

    to_query: Tensor
    to_key: Tensor
    to_out: Tensor
    turn: Tensor | None
    channels: int

    @classmethod
    def of(cls, world_to_frame: Tensor, *, head_width: int, positions: Tensor | None) -> RelativePose:
        """world_to_frame (n, l, 4, 4) of tokens, or (n, f, 4, 4) of frames with `positions` (p, 2) in [-1, 1] of each one's
        tokens, l = f p, which tell them apart. E acts on half of the channels; positions turn a quarter; the rest, and all that
        context sees, stays as it is."""
        frame = world_to_frame.clone()
        frame[..., :3, 3] /= UNIT
        rotation = frame[..., :3, :3].transpose(-1, -2)
        inverse = _rigid(rotation, -(rotation @ frame[..., :3, 3:]))
        channels = head_width // 8 * 4
        maps = [frame.transpose(-1, -2), inverse, frame]
        turn = None
        if positions is not None:
            count = head_width // 16  # frequencies an axis, two channels each
            angles = (positions[:, :, None] * torch.pi * 2.0 ** torch.arange(count, device=frame.device)).flatten(1)
            angles = angles.repeat(frame.shape[1], 1)
            turn = torch.stack([angles.cos(), angles.sin()], dim=1).to(frame.dtype)
            maps = [_spread(matrix, channels // 4) for matrix in maps]
        return cls(to_query=maps[0], to_key=maps[1], to_out=maps[2], turn=turn, channels=channels)

    def query(self, q: Tensor) -> Tensor:
        """(n, heads, l, d) -> E^T q."""
        return self._act(q, self.to_query, sign=1)

    def key(self, k: Tensor, length: int) -> Tensor:
        """(n, heads, l + c, d) -> E^-1 k for the first `length` tokens, zero in these channels for the c of context."""
        tokens = self._act(k[:, :, :length], self.to_key, sign=1)
        return torch.cat([tokens, self._blank(k[:, :, length:])], dim=2)

    def value(self, v: Tensor, length: int) -> Tensor:
        """As `key`, image positions included: values travel between frames as keys do."""
        return self.key(v, length)

    def out(self, y: Tensor) -> Tensor:
        """(n, heads, l, d) -> E y: from the world back into each token's frame."""
        return self._act(y, self.to_out, sign=-1)

    def _act(self, x: Tensor, matrix: Tensor, *, sign: int) -> Tensor:
        m = self.channels
        with torch.autocast(x.device.type, enabled=False):
            vectors = x[..., :m].to(matrix.dtype)
            if self.turn is None:
                moved = (matrix[:, None] @ vectors.unflatten(-1, (4, -1))).flatten(-2)
            else:  # one product a frame: a 4 x 4 product a token costs several times more
                frames = vectors.unflatten(2, (matrix.shape[1], -1))
                moved = (frames @ matrix[:, None].transpose(-1, -2)).flatten(2, 3)
            moved = moved.to(x.dtype)
        if self.turn is None:
            return torch.cat([moved, x[..., m:]], dim=-1)
        cosine, sine = self.turn[:, 0].to(x.dtype), sign * self.turn[:, 1].to(x.dtype)
        r = cosine.shape[-1]
        a, b, rest = x[..., m : m + r], x[..., m + r : m + 2 * r], x[..., m + 2 * r :]
        return torch.cat([moved, a * cosine - b * sine, a * sine + b * cosine, rest], dim=-1)

    def _blank(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x[..., : self.channels]), x[..., self.channels :]], dim=-1)


def _spread(matrix: Tensor, count: int) -> Tensor:
    """(*b, 4, 4) -> (*b, 4 count, 4 count): what acts on `count` vectors that lie coordinate by coordinate."""
    eye = torch.eye(count, dtype=matrix.dtype, device=matrix.device)
    return (matrix[..., :, None, :, None] * eye[:, None, :]).flatten(-4, -3).flatten(-2)
