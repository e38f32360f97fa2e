"""Motion as whole keyframes: what a sequence of files says, kept exactly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gaussians import Gaussians, Moved
from .hexplane import check_whole, one_time

FIELDS = ("means", "quats", "log_scales", "logit_opacities", "sh")


class Keyframes(nn.Module):
    """A `Deformation`: every attribute of `count` Gaussians at `frames` times i / (frames - 1), linear between them.

    Rotations take the short way (normalised linear interpolation). Attributes that never change are stored once.

    Args:
        coefficients: spherical harmonics of each Gaussian: 1, 4, 9 or 16.
        changing: the attributes (of FIELDS) that have a value for each time; the others have one for all.
    """

    kind = "keyframes"
    means: Tensor
    sh: Tensor

    def __init__(self, *, count: int, frames: int, coefficients: int, changing: Sequence[str] = FIELDS) -> None:
        super().__init__()
        check_whole("count", count, least=1)
        check_whole("frames", frames, least=2)
        if coefficients not in (1, 4, 9, 16):
            raise ValueError(f"coefficients must be 1, 4, 9 or 16, got {coefficients!r}")
        if not set(changing) <= set(FIELDS):
            raise ValueError(f"changing must name some of {', '.join(FIELDS)}, got {changing!r}")
        self.frames, self.changing = frames, tuple(name for name in FIELDS if name in changing)
        tails = {"means": (3,), "quats": (4,), "log_scales": (3,), "logit_opacities": (), "sh": (coefficients, 3)}
        for name, tail in tails.items():
            self.register_buffer(name, torch.zeros(frames if name in self.changing else 1, count, *tail))

    @classmethod
    def of(cls, frames: Sequence[Gaussians]) -> Keyframes:
        """From two or more sets in which the i-th Gaussian is the same one at every time."""
        first = frames[0]
        stacked = {name: torch.stack([getattr(g.detach(), name) for g in frames]) for name in FIELDS}
        quats = functional.normalize(stacked["quats"], dim=-1)
        for i in range(1, len(quats)):  # one hemisphere along time
            quats[i] *= torch.where((quats[i] * quats[i - 1]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        stacked["quats"] = quats
        changing = [name for name, values in stacked.items() if not torch.equal(values, values[:1].expand_as(values))]
        out = cls(count=len(first), frames=len(frames), coefficients=first.sh.shape[1], changing=changing)
        out.load_state_dict({name: v if name in changing else v[:1] for name, v in stacked.items()})
        return out

    def config(self) -> dict:
        """The constructor's arguments as JSON-ready values."""
        count, coefficients = self.sh.shape[1:3]
        return {
            "count": count,
            "frames": self.frames,
            "coefficients": coefficients,
            "changing": list(self.changing),
        }

    def deform_batch(self, gaussians: Gaussians, times: Tensor) -> Moved:
        """The Gaussians, as many as there are tracks, at `times` (v,) in [0, 1]. Only their number is taken from `gaussians`."""
        if len(gaussians) != self.means.shape[1]:
            raise ValueError(f"the tracks are of {self.means.shape[1]} Gaussians, got {len(gaussians)}")
        at = times.to(self.means).clamp(0, 1) * (self.frames - 1)
        lower = at.floor().long().clamp(0, self.frames - 2)
        share = at - lower

        def value(name: str) -> Tensor:
            keys = getattr(self, name)
            if len(keys) == 1:
                return keys.expand(len(times), *keys.shape[1:])
            weight = share.reshape(-1, *[1] * (keys.ndim - 1))
            return torch.lerp(keys[lower], keys[lower + 1], weight)

        return Moved(**{name: value(name) for name in FIELDS})

    def __call__(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        """The Gaussians at `time`, a scalar in [0, 1]."""
        return super().__call__(gaussians, time)

    def forward(self, gaussians: Gaussians, time: float | Tensor) -> Gaussians:
        return self.deform_batch(gaussians, one_time(gaussians, time)).at(0)
